"""The next drafts out of a forward's own mask rows: the group that came true gives them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.grammar.drafting import BoundDrafts, bind_drafts
from engine.grammar.matcher import Bits
from engine.policy.outlook import Hint
from engine.runner import Runner
from engine.sampling.confidence import confidences
from engine.sampling.processors import needs_processing
from engine.sampling.row import Row
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence
from engine.strategies.base import Strategy
from engine.strategies.drafter import Decided
from engine.window import Window

#: products of numbers that the head may spend on drafts which may come to nothing: about what a second call of it costs
FREE_PRODUCTS = 4_000_000


@dataclass(frozen=True)
class Sampled:
    """All windows' target rows, one after another, with the token that each chose and how sure it was.

    `logits` is [rows, vocab_size]; `broken` are the indices of rows that are not numbers. `drafts` holds tokens of mask
    rows that were sampled with them, by row of the flat batch.
    """

    rows: list[Row]
    logits: Tensor
    tokens: list[int]
    confidence: list[float]
    broken: set[int]
    drafts: dict[int, int]


class MaskDrafts:
    """Draws drafts with the noise of their positions, as the AR rows will draw the tokens there."""

    def __init__(self, strategy: Strategy, runner: Runner, sampler: Sampler) -> None:
        self._strategy = strategy
        self._runner = runner
        self._sampler = sampler

    def early(self, windows: list[Window]) -> dict[int, Row]:
        """Mask rows, by their number in the flat batch, to be sampled together with the target rows: where the outcome
        is known, and where there are so few that a second call of the head would cost more.

        Drafts that need their logits, or the token before them, are left to `take`.
        """
        sure: dict[int, Row] = {}
        open_: dict[int, Row] = {}
        for window in windows:
            sequence = window.sequence
            if not window.shape.predrafts or sequence.matcher is not None or needs_processing(sequence.params):
                continue
            outcomes = self._strategy.outcomes(window)
            rows = sure if len(outcomes) == 1 and not window.drafted else open_
            for committed, places in outcomes.items():
                position = len(sequence.tokens) + committed
                rows.update({window.start + row: Row(sequence, position + i, []) for i, row in enumerate(places)})
        config = self._runner.model.config
        if len(open_) * config.vocab_size * config.hidden_size <= FREE_PRODUCTS:
            sure |= open_
        return sure

    def take(self, decided: list[Decided], sampled: Sampled, hidden: Tensor, hints: bool) -> None:
        """Give the sequences the drafts of the groups that came true; with `hints`, note how sure the forward was."""
        drafting = [d for d in decided if d.resolution.draft_rows and d.window.sequence.finish_reason is None]
        late = []
        for d in drafting:
            rows = [d.window.start + row for row in d.resolution.draft_rows]
            if rows[0] in sampled.drafts:
                d.window.sequence.drafts = [sampled.drafts[row] for row in rows]
            else:
                late.append(d)
        if late:
            self._take_late(late, sampled, hidden, hints)

    def _take_late(self, drafting: list[Decided], sampled: Sampled, hidden: Tensor, hints: bool) -> None:
        flat: list[int] = []
        rows: list[Row] = []
        for d in drafting:
            sequence = d.window.sequence
            flat += [d.window.start + row for row in d.resolution.draft_rows]
            length = len(sequence.tokens)
            rows += [Row(sequence, length + i, []) for i in range(len(d.resolution.draft_rows))]
        logits = self._runner.logits(hidden, flat)
        drafts: Iterator[int] = iter(self._sampler.sample(logits, rows))
        for d in drafting:
            d.window.sequence.drafts = [next(drafts) for _ in d.resolution.draft_rows]
        if any(d.window.sequence.matcher is not None for d in drafting):
            self._bind([d.window.sequence for d in drafting], logits, rows)
        if hints:
            _hint(drafting, sampled, logits)

    def _bind(self, sequences: list[Sequence], logits: Tensor, rows: list[Row]) -> None:
        """Make fresh drafts keep to the grammars; `logits` and `rows` are all the sequences' draft rows in order."""
        bound: dict[str, BoundDrafts] = {}
        first = 0
        for sequence in sequences:
            if sequence.matcher is not None:
                bound[sequence.request_id] = BoundDrafts(sequence.matcher, first, sequence.drafts)
            first += len(sequence.drafts)

        def redraw(wanted: list[int], allowed: list[Bits]) -> list[int]:
            chosen = [replace(rows[i], allowed=bits) for i, bits in zip(wanted, allowed, strict=True)]
            return self._sampler.sample(logits[wanted], chosen)

        bind_drafts(list(bound.values()), redraw)
        for sequence in sequences:
            if sequence.request_id in bound:
                sequence.drafts = bound[sequence.request_id].drafts


def _hint(drafting: list[Decided], sampled: Sampled, logits: Tensor) -> None:
    """Note how sure the forward was of the drafts at hand and of the tokens before them.

    `logits` are those of all draft rows, of which the last of a sequence may have come to nothing by its grammar.
    """
    rows: list[int] = []
    first = 0
    for d in drafting:
        rows += range(first, first + len(d.window.sequence.drafts))
        first += len(d.resolution.draft_rows)
    chose = [d.first_target + len(d.resolution.committed) - 1 for d in drafting]
    tokens = [token for d in drafting for token in d.window.sequence.drafts] + [sampled.tokens[i] for i in chose]
    drafted = logits if len(rows) == len(logits) else logits[rows]
    sure = iter(confidences(torch.cat([drafted, sampled.logits[chose]]), tokens, "probability"))
    of_drafts = [[next(sure) for _ in d.window.sequence.drafts] for d in drafting]
    for d, each, of_next in zip(drafting, of_drafts, sure, strict=True):
        d.window.sequence.record.hint = Hint(each, of_next)
