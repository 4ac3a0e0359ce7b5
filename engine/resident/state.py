"""What a resident batch is between two steps: static tensors on the device, one row per sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.sequence import Sequence

#: stands where a sequence has no draft; equal to no token, so it is never accepted
NO_DRAFT = -1


class RowSettings(NamedTuple):
    """Sampling settings [batch]: temperature, top_p, min_p float64; top_k (the vocabulary where off), seed int64."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor
    seed: Tensor


@dataclass(frozen=True)
class ResidentState:
    """The sequences of a batch as the next step finds them.

    `table` int32 [batch, 1 + pages]: the prefix length and the page numbers, with the scratch page wherever the
    sequence has none. `alive` int32 [batch]: 0 for padding and finished sequences. `candidates` int64 [batch, K]: d_0
    and the drafts after it, or NO_DRAFT.
    """

    table: Tensor
    alive: Tensor
    candidates: Tensor
    settings: RowSettings

    @classmethod
    def empty(cls, batch: int, pages: int, draft_length: int, scratch_page: int, device: torch.device) -> ResidentState:
        """A batch of padding: prefix 0, every write to the scratch page."""
        table = torch.full((batch, 1 + pages), scratch_page, dtype=torch.int32, device=device)
        table[:, 0] = 0
        ones = torch.ones(batch, dtype=torch.float64, device=device)
        zeros = torch.zeros(batch, dtype=torch.int64, device=device)
        settings = RowSettings(ones.clone(), zeros.clone(), ones.clone(), ones.clone(), zeros.clone())
        candidates = torch.full((batch, draft_length), NO_DRAFT, dtype=torch.int64, device=device)
        candidates[:, 0] = 0
        return cls(table, zeros.to(torch.int32), candidates, settings)

    @property
    def batch(self) -> int:
        return self.table.shape[0]

    @property
    def device(self) -> torch.device:
        return self.table.device

    def first(self, batch: int) -> ResidentState:
        """The same tensors, seen as a batch of so many rows."""
        settings = RowSettings(*(setting[:batch] for setting in self.settings))
        return ResidentState(self.table[:batch], self.alive[:batch], self.candidates[:batch], settings)

    def load(self, sequences: list[Sequence], vocab_size: int) -> None:
        """Take over decoding sequences as the first rows, the rest being padding; their pages come with `set_pages`."""
        count, width = len(sequences), self.candidates.shape[1]
        self.alive.zero_()
        self.alive[:count] = 1
        self.table[:count, 0] = self._tensor([s.prefix_len for s in sequences], torch.int32)
        rows = [(s.tokens[-1:] + s.drafts)[:width] for s in sequences]
        padded = [row + [NO_DRAFT] * (width - len(row)) for row in rows]
        self.candidates[:count] = self._tensor(padded, torch.int64)
        params, settings = [s.params for s in sequences], self.settings
        settings.temperature[:count] = self._tensor([p.temperature for p in params], torch.float64)
        top_k = [p.top_k if 0 < p.top_k < vocab_size else vocab_size for p in params]
        settings.top_k[:count] = self._tensor(top_k, torch.int64)
        settings.top_p[:count] = self._tensor([p.top_p for p in params], torch.float64)
        settings.min_p[:count] = self._tensor([p.min_p for p in params], torch.float64)
        settings.seed[:count] = self._tensor([s.seed for s in sequences], torch.int64)

    def set_pages(self, table: Tensor) -> None:
        """Page numbers int32 [rows, pages] of the first rows, from the host."""
        self.table[: len(table), 1:] = self._device_copy(table)

    def set_alive(self, alive: list[int]) -> None:
        self.alive[: len(alive)] = self._tensor(alive, torch.int32)

    def _tensor(self, values: list[int] | list[float] | list[list[int]], dtype: torch.dtype) -> Tensor:
        return self._device_copy(torch.tensor(values, dtype=dtype))

    def _device_copy(self, tensor: Tensor) -> Tensor:
        """From pinned memory, so that the host does not wait for the steps in flight."""
        if self.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)
