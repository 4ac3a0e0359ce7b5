"""What rank 0 and its followers say to each other over ZeroMQ, in a private folder of one machine.

An order is a batch as laid out on rank 0. It is pickled: both ends are the same program, and nobody else can write to
the folder.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.batch import Batch, ShapeGroup
from engine.window import IntArray


@dataclass(frozen=True)
class Loaded:
    """A follower has its part of the weights; `weight_bytes` of them."""

    weight_bytes: int


@dataclass(frozen=True)
class Lost:
    """A follower cannot go on; one sentence."""

    message: str


@dataclass(frozen=True)
class Leave:
    """Rank 0 has no more work."""


@dataclass(frozen=True)
class Forward:
    """One step: `groups` as in Batch; token ids and positions int64 [rows]."""

    groups: list[ShapeGroup]
    token_ids: IntArray
    positions: IntArray
    write_slots: IntArray

    @classmethod
    def of(cls, batch: Batch) -> Forward:
        rows = (batch.token_ids, batch.positions, batch.write_slots)
        return cls(batch.groups, *(tensor.cpu().numpy() for tensor in rows))

    def batch(self, device: torch.device) -> Batch:
        """The batch again, without the sequences behind it."""
        rows = (self.token_ids, self.positions, self.write_slots)
        return Batch([], self.groups, *(torch.from_numpy(array).to(device) for array in rows))


Order = Forward | Leave
Report = Loaded | Lost


def order_address(folder: Path, rank: int) -> str:
    return f"ipc://{folder}/orders-{rank}"


def report_address(folder: Path, rank: int) -> str:
    return f"ipc://{folder}/reports-{rank}"


def packed(message: Order | Report) -> bytes:
    return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)


def unpacked(message: bytes) -> object:
    """The message again; who receives it knows of which kind it is."""
    return pickle.loads(message)
