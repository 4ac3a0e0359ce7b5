"""The interface of a drafting policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from engine.strategies.base import DraftChoice


@dataclass(frozen=True, slots=True)
class Load:
    """What a step has to carry whatever is drafted: `sequences` in flight and the sum of their prefixes, in tokens."""

    sequences: int
    keys: int = 0


class Policy(ABC):
    """Chooses (k, S) for a step and learns from what came of it. The choice never changes a token, only its price."""

    @abstractmethod
    def choose(self, load: Load, row_budget: int) -> DraftChoice:
        """The setting for a step under this load, within so many rows."""

    @abstractmethod
    def observe_window(self, drafted: int, accepted: int) -> None:
        """A decode window had `drafted` drafts beside d_0, `accepted` of them right."""

    @abstractmethod
    def observe_step(self, rows: int, load: Load, seconds: float) -> None:
        """A step of decode windows only, so many rows in all, took so long."""

    @abstractmethod
    def expected_rate(self, load: Load) -> float:
        """Committed tokens per second that the present setting should give; 0 where the policy makes no estimate."""
