"""Which setting each class of requests gets, so that the whole batch commits the most tokens per second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.strategies.base import DraftChoice

#: rounds over the classes after which their settings are taken as they are
ROUNDS = 3
#: tokens that a row may be worth
PRICES = (0.0, 0.01, 0.02, 0.04, 0.08, 0.12, 0.18, 0.26, 0.36, 0.5, 0.7)


@dataclass(frozen=True, slots=True)
class Promise:
    """What a setting does for one sequence: committed tokens and rows per step, both means over warm and cold steps.

    `cold` is the number of cold steps to every warm one.
    """

    choice: DraftChoice
    tokens: float
    rows: float
    cold: float = 0.0


def promise(choice: DraftChoice, lengths: list[float], masks: bool = True) -> Promise:
    """`lengths` are P(acceptance length = a), a = 1 … k.

    After an outcome without a pre-draft group a cold step commits one token: of 1 + c steps c are cold, where c is the
    probability of such an outcome, as drafts that come from beside the forward never are.
    """
    if choice.draft_length == 1:
        return Promise(choice, 1.0, 1.0)
    cold = max(0.0, 1 - sum(lengths[a - 1] for a in choice.groups)) if masks else 0.0
    tokens = sum(a * p for a, p in enumerate(lengths, start=1)) + cold
    return Promise(choice, tokens / (1 + cold), (choice.rows + cold * choice.cold_rows) / (1 + cold), cold)


@dataclass(frozen=True, slots=True)
class Batch:
    """How many sequences each class holds, the seconds of a step of so many rows, and the most rows it may have."""

    counts: Sequence[int]
    seconds: Callable[[float], float]
    row_budget: int

    def rate(self, mix: Sequence[Promise]) -> float:
        """Committed tokens per second of the whole batch, a promise for each class."""
        tokens = sum(n * p.tokens for n, p in zip(self.counts, mix, strict=True))
        return tokens / self.seconds(sum(n * p.rows for n, p in zip(self.counts, mix, strict=True)))

    def rows(self, mix: Sequence[Promise]) -> int:
        """Rows of a step in which every window is warm."""
        return sum(n * p.choice.rows for n, p in zip(self.counts, mix, strict=True))


def best_mix(batch: Batch, promises: Sequence[Sequence[Promise]], start: Sequence[Promise]) -> list[Promise]:
    """One promise for each class, of those that it has.

    For a given number of rows the best division has one price per row (a Lagrange multiplier) at which every class
    takes what is worth most to it; so a few prices are tried, and from the best of what they give, or `start`, class
    after class takes what makes the whole batch fastest, until none changes. A class that holds nobody is answered as
    if it held one.
    """
    bought = [[_bought(own, price) for own in promises] for price in PRICES]
    mix = max([list(start), *(b for b in bought if batch.rows(b) <= batch.row_budget)], key=batch.rate)
    for _ in range(ROUNDS):
        before = list(mix)
        for kind, own in enumerate(promises):
            mix[kind] = _best_response(batch, mix, kind, own)
        if mix == before:
            break
    return mix


def _bought(own: Sequence[Promise], price: float) -> Promise:
    return max(own, key=lambda p: p.tokens - price * p.rows)


def _best_response(batch: Batch, mix: Sequence[Promise], kind: int, own: Sequence[Promise]) -> Promise:
    """What this class takes while the others keep to the mix."""
    count = max(batch.counts[kind], 1)
    others = [(n, p) for other, (n, p) in enumerate(zip(batch.counts, mix, strict=True)) if other != kind]
    tokens = sum(n * p.tokens for n, p in others)
    rows = sum(n * p.rows for n, p in others)
    room = batch.row_budget - sum(n * p.choice.rows for n, p in others)
    fitting = [p for p in own if count * p.choice.rows <= room] or own[:1]
    return max(fitting, key=lambda p: (tokens + count * p.tokens) / batch.seconds(rows + count * p.rows))
