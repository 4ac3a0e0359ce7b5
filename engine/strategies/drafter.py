"""The interface of drafts that come from elsewhere than this forward's own mask rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from engine.sequence import Sequence
from engine.strategies.base import Resolution
from engine.window import Window
from models.decoder import Tap


@dataclass(frozen=True)
class Decided:
    """One window after its target rows were sampled: what the strategy said, and how many tokens were taken."""

    window: Window
    resolution: Resolution
    committed: int


class Drafter(ABC):
    """Proposes what may come next: n-grams of the text, a draft model, a head on the model's own hidden states.

    Drafts never change a token, only how many a step commits.
    """

    #: is shown the output of every layer in every forward; None costs nothing
    tap: Tap | None = None

    @abstractmethod
    def propose(self, decided: list[Decided], hidden: Tensor) -> None:
        """Give the sequences of these windows their drafts (`Sequence.drafts`, or `Sequence.state` for a tree).

        `hidden` [rows, hidden_size] is what the forward gave, the window's rows from `Window.start` on. A sequence with
        a `finish_reason` needs none.
        """

    @abstractmethod
    def forget(self, sequence: Sequence) -> None:
        """The sequence has left the engine."""
