"""Window attention whose prefixes and pages are known to the device alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.cache.pages import NULL_PAGE
from engine.cache.storage import KVStorage
from engine.window import WindowShape
from models.decoder import Attention


class ResidentAttention(ABC):
    """Like AttentionBackend for a batch of one shape, but without a host sync.

    `table` int32 [batch, 1 + pages] has a prefix length and page numbers per sequence, and may change in place between
    replays of a graph. `context` bounds the live prefixes.
    """

    @abstractmethod
    def prepare(self, table: Tensor, shape: WindowShape, context: int) -> Attention:
        """What does not depend on the layer; the result stores the clean rows' K/V as it attends."""


class GatherAttention(ResidentAttention):
    """torch's SDPA over gathered slots, padded to `context`: the CPU path, the reference and the fallback."""

    def __init__(self, storage: KVStorage) -> None:
        self.storage = storage

    def prepare(self, table: Tensor, shape: WindowShape, context: int) -> Attention:
        prefix, pages = table[:, :1].long(), table[:, 1:].long()
        positions = torch.arange(context, device=table.device).expand(len(table), -1)
        beyond = positions >= prefix
        # what lies beyond a prefix may be NaN, which a mask alone does not keep out of the values
        reads = torch.where(beyond, NULL_PAGE * self.storage.page_size, self._slots(pages, positions))
        clean = prefix + torch.arange(shape.clean, device=table.device)
        window = _mask(shape, table.device).expand(len(table), -1, -1)
        mask = torch.cat([~beyond[:, None].expand(-1, shape.rows, -1), window], 2)[:, None]
        return _Gathered(self.storage, shape, reads, self._slots(pages, clean).flatten(), mask)

    def _slots(self, pages: Tensor, positions: Tensor) -> Tensor:
        """Slots of these positions, int64 [batch, positions]."""
        size = self.storage.page_size
        return pages.gather(1, positions // size) * size + positions % size


class _Gathered:
    def __init__(self, storage: KVStorage, shape: WindowShape, reads: Tensor, writes: Tensor, mask: Tensor) -> None:
        self.storage, self.shape = storage, shape
        self.reads, self.writes, self.mask = reads, writes, mask

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [batch · rows, heads, head_dim]; k, v [batch · rows, kv_heads, head_dim]; returns the shape of q."""
        batch, slots = len(self.reads), self.storage.slots[layer]
        new = torch.stack((k, v), 1).to(slots.dtype).unflatten(0, (batch, self.shape.rows))
        prefix = slots.index_select(0, self.reads.flatten()).unflatten(0, (batch, -1))
        keys, values = torch.cat([prefix, new], 1).to(q.dtype).permute(2, 0, 3, 1, 4).unbind(0)
        queries = q.unflatten(0, (batch, self.shape.rows)).transpose(1, 2)
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=self.mask, enable_gqa=True)
        slots.index_copy_(0, self.writes, new[:, : self.shape.clean].flatten(0, 1))
        return out.transpose(1, 2).flatten(0, 1)


@cache
def _mask(shape: WindowShape, device: torch.device) -> Tensor:
    """Who sees whom inside the window, bool [rows, rows], kept on the device."""
    return torch.from_numpy(shape.mask().copy()).to(device)
