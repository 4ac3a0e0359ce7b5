"""The interface of drafts that come from elsewhere than this forward's own mask rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.sequence import Sequence
from engine.strategies.base import Resolution
from engine.window import Window
from models.decoder import Decoder, Tap
from models.inference import Kernels

if TYPE_CHECKING:
    from engine.scheduler import Scheduler


@dataclass(frozen=True)
class Decided:
    """One window after its target rows were sampled: what the strategy said, and how many tokens were taken.

    `first_target` is where its targets begin among those of all windows.
    """

    window: Window
    resolution: Resolution
    committed: int
    first_target: int = 0


@dataclass(frozen=True)
class Beside:
    """What a drafter works beside: the model it drafts for, ready to run, and whoever hands out pages."""

    model: Decoder
    scheduler: Scheduler
    dtype: torch.dtype
    device: torch.device
    kernels: Kernels
    threads: int


class Drafter(ABC):
    """Proposes what may come next: n-grams of the text, a draft model, a head on the model's own hidden states.

    Drafts never change a token, only how many a step commits.
    """

    #: is shown the output of every layer in every forward; None costs nothing
    tap: Tap | None = None

    @abstractmethod
    def propose(self, decided: list[Decided], hidden: Tensor, draft_length: int) -> None:
        """Give the sequences of these windows their drafts (`Sequence.drafts`, or `Sequence.state` for a tree).

        `draft_length` is k: drafts beside d_0 are one fewer, and none are wanted where it is 1. `hidden` [rows,
        hidden_size] is what the forward gave, the window's rows from `Window.start` on. A sequence with a
        `finish_reason` needs none.
        """

    @abstractmethod
    def forget(self, sequence: Sequence) -> None:
        """The sequence has left the engine."""
