"""Window attention with torch's scaled_dot_product_attention over gathered slots: CPU path, reference and fallback."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.attention.base import AttentionBackend
from engine.batch import Batch, ShapeGroup
from engine.cache.storage import KVStorage
from models.decoder import Attention


@dataclass(frozen=True)
class _Gather:
    """One shape group's reads: slots int64 [batch · keys], additive mask [batch, 1, rows, keys] or None, flat rows."""

    rows: slice
    batch: int
    slots: Tensor
    mask: Tensor | None
    causal: bool


class TorchAttention(AttentionBackend):
    """Per layer: store the step's K/V, gather each group's keys in one copy, one SDPA call per shape group."""

    def prepare(self, batch: Batch) -> Attention:
        gathers = [self._gather(group, batch.write_slots) for group in batch.groups]
        return _PreparedAttention(self.storage, batch.write_slots, gathers)

    def _gather(self, group: ShapeGroup, write_slots: Tensor) -> _Gather:
        """Keys are the prefix, padded to the group's longest with the null page, then the window's own rows."""
        page_size, device = self.storage.page_size, self.storage.slots.device
        rows = slice(group.start, group.start + group.rows)
        positions = torch.arange(group.max_prefix)
        prefix = group.block_table[:, positions // page_size] * page_size + positions % page_size
        beyond = positions >= group.prefix_lens[:, None]
        window = write_slots[rows].view(group.batch, -1)
        slots = torch.cat([prefix.masked_fill(beyond, 0).to(device), window], 1).view(-1)
        ragged = group.batch > 1 and bool(beyond.any())
        if not ragged and group.shape.rows == 1:
            return _Gather(rows, group.batch, slots, None, False)
        if group.max_prefix == 0 and group.shape.causal:
            return _Gather(rows, group.batch, slots, None, True)
        hidden = torch.cat([beyond[:, None].expand(-1, group.shape.rows, -1), self._window(group)], 2)
        mask = torch.zeros(hidden.shape, dtype=self.storage.slots.dtype).masked_fill_(hidden, float("-inf"))
        return _Gather(rows, group.batch, slots, mask[:, None].to(device), False)

    @staticmethod
    def _window(group: ShapeGroup) -> Tensor:
        return ~group.shape.mask().expand(group.batch, -1, -1)


class _PreparedAttention:
    def __init__(self, storage: KVStorage, write_slots: Tensor, gathers: list[_Gather]) -> None:
        self.slots = storage.slots
        self.write_slots = write_slots
        self.gathers = gathers

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [rows, heads, head_dim]; k, v [rows, kv_heads, head_dim]; returns [rows, heads, head_dim]."""
        slots = self.slots[layer]
        slots.index_copy_(0, self.write_slots, torch.stack((k, v), 1))
        outputs = [self._attend(slots, q[gather.rows], gather) for gather in self.gathers]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    @staticmethod
    def _attend(slots: Tensor, q: Tensor, gather: _Gather) -> Tensor:
        keys = slots.index_select(0, gather.slots).unflatten(0, (gather.batch, -1))
        k, v = keys.permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(
            q.unflatten(0, (gather.batch, -1)).transpose(1, 2),
            k,
            v,
            attn_mask=gather.mask,
            is_causal=gather.causal,
            enable_gqa=True,
        )
        return out.transpose(1, 2).flatten(0, 1)
