"""A step that has been launched and not read yet."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.policy.base import Load
from engine.resident.step import Said, read
from engine.sequence import Sequence
from engine.window import WindowShape


@dataclass
class Flight:
    """What it computes and for whom; `pages` are freed once it is done, since it may write to them until then."""

    sequences: list[Sequence]
    shape: WindowShape
    rows: int
    load: Load
    host: Tensor
    done: torch.cuda.Event | None
    pages: list[int] = field(default_factory=list)

    @classmethod
    def launched(cls, sequences: list[Sequence], shape: WindowShape, rows: int, load: Load, packed: Tensor) -> Flight:
        """Start the copy of the result to the host, without waiting for it."""
        if packed.device.type == "cpu":
            return cls(sequences, shape, rows, load, packed, None)
        host = packed.to("cpu", non_blocking=True)
        done = torch.cuda.Event()
        done.record()
        return cls(sequences, shape, rows, load, host, done)

    def said(self) -> list[Said]:
        """Wait for the step and read what each sequence's window said."""
        if self.done is not None:
            self.done.synchronize()
        return read(self.host[: len(self.sequences)], self.shape)
