"""What a decoding scheme is to the engine: a way to fill windows and to read tokens out of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.errors import RequestError
from engine.messages import Submit
from engine.sequence import Sequence
from engine.window import Rows, Window

if TYPE_CHECKING:
    from engine.sampling.confidence import Confidence
    from engine.sampling.row import Row


@dataclass(frozen=True)
class DraftChoice:
    """How much to draft in a step: k drafts, and pre-draft groups for these acceptance lengths. k = 1 is plain AR.

    Of the drafts beside d_0 that are at hand, a window verifies the first `verified`; None means all, k - 1 at most.
    """

    draft_length: int
    groups: tuple[int, ...] = ()
    verified: int | None = None

    @property
    def most_verified(self) -> int:
        """Drafts beside d_0 that a warm decode window verifies, if it has as many."""
        return self.draft_length - 1 if self.verified is None else self.verified

    @property
    def rows(self) -> int:
        """Rows of a warm decode window."""
        return 1 + self.most_verified + len(self.groups) * self.draft_length

    @property
    def cold_rows(self) -> int:
        """Rows of a cold step's window."""
        return 1 + (self.draft_length if self.draft_length > 1 else 0)


@dataclass(frozen=True)
class Resolution:
    """What one window's target rows decided.

    `committed` are final tokens in order; `kept` clean rows have become prefix. `draft_rows`, relative to the window's
    first row, are the rows whose logits give the next drafts; empty means the next step is cold. `fixed` are the
    targets, by index, whose sampled tokens this step decided; None means as many of the first as were committed. A
    token is decided once, and committed then or in a later step, when all before it are. `path` are the rows that have
    become prefix, where these are not the first.
    """

    committed: list[int]
    kept: int
    draft_rows: Rows = field(default_factory=lambda: range(0))
    fixed: Rows | None = None
    path: list[int] | None = None


class Strategy(ABC):
    """One decoding scheme. It never touches the cache, the model or other sequences.

    What it has to remember of a sequence lies in `Sequence.state`, which outlives preemption as tokens do.
    """

    #: what `resolve` is told of each target beside its token; None if it needs nothing
    confidence: Confidence | None = None
    #: a token that must never be sampled: the mask, where it is no word
    never: int | None = None
    #: whether a window can be cut to any number of rows; if not, `plan` may let a sequence sit out a step
    divisible: bool = True

    @abstractmethod
    def plan(self, sequence: Sequence, choice: DraftChoice, row_budget: int) -> Window | None:
        """The window for the sequence's next forward, of at most `row_budget` (≥ 1) rows.

        None where not even the smallest fits; within the engine's whole budget one always does (see `refusal`). It may
        be called more than once for a step, and must change nothing that this would show in.
        """

    @abstractmethod
    def fill(self, window: Window) -> list[int]:
        """Token ids of all the window's rows, mask tokens included."""

    @abstractmethod
    def rows(self, window: Window) -> list[Row]:
        """What each target row samples: the position, and what counts as said before it."""

    @abstractmethod
    def resolve(self, window: Window, sampled: list[int], confidence: list[float]) -> Resolution:
        """Commit tokens, given the token sampled from each target row, and how sure it was if `confidence` is set."""

    def outcomes(self, window: Window) -> dict[int, Rows]:
        """The rows that would be `Resolution.draft_rows`, by how many tokens the window may come to commit; none for
        outcomes without any, and before a prompt's last chunk."""
        return {}

    def refusal(self, request: Submit, max_len: int) -> RequestError | None:
        """What the request, which may grow to `max_len` tokens, asks of this scheme that it cannot do."""
        return None

    def settled(self, sequence: Sequence) -> int:
        """How many of its first tokens may come out of the cache at once, since their K/V will not change any more."""
        return len(sequence.tokens) - 1

    def shares_prefixes(self, page_size: int) -> bool:
        """Whether a full page's K/V follow from its tokens and those before it, so that another sequence may use it."""
        return True
