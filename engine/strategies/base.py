"""What a decoding scheme is to the engine: a way to fill windows and to read tokens out of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from engine.sequence import Sequence
from engine.window import Window


@dataclass(frozen=True)
class DraftChoice:
    """How much to draft in a step: k drafts, and pre-draft groups for these acceptance lengths. k = 1 is plain AR."""

    draft_length: int
    groups: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of a warm decode window."""
        return self.draft_length + len(self.groups) * self.draft_length

    @property
    def cold_rows(self) -> int:
        """Rows of a cold step's window."""
        return 1 + (self.draft_length if self.draft_length > 1 else 0)


@dataclass(frozen=True)
class Resolution:
    """What one window's AR rows decided.

    `committed` are final tokens in order; `kept` clean rows have become prefix. `draft_rows`, relative to the window's
    first row, are the rows whose logits give the next drafts; empty means the next step is cold.
    """

    committed: list[int]
    kept: int
    draft_rows: range


class Strategy(ABC):
    """One decoding scheme. It never touches the cache, the model or other sequences."""

    @abstractmethod
    def plan(self, sequence: Sequence, choice: DraftChoice, row_budget: int) -> Window:
        """The window for the sequence's next forward, of at most `row_budget` (≥ 1) rows."""

    @abstractmethod
    def fill(self, window: Window) -> list[int]:
        """Token ids of all the window's rows, mask tokens included."""

    @abstractmethod
    def resolve(self, window: Window, sampled: list[int]) -> Resolution:
        """Commit tokens, given the token sampled from each target row."""
