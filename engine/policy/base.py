"""The interface of a drafting policy."""

from __future__ import annotations

from abc import ABC, abstractmethod

from engine.strategies.base import DraftChoice


class Policy(ABC):
    """Chooses (k, S) for a step and learns from what came of it. The choice never changes a token, only its price."""

    @abstractmethod
    def choose(self, sequences: int, row_budget: int) -> DraftChoice:
        """The setting for a step in which so many sequences run, within so many rows."""

    @abstractmethod
    def observe_window(self, drafted: int, accepted: int) -> None:
        """A decode window had `drafted` drafts beside d_0, `accepted` of them right."""

    @abstractmethod
    def observe_step(self, rows: int, seconds: float) -> None:
        """A step of so many rows took so long."""
