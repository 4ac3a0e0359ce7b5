"""Window attention with torch's scaled_dot_product_attention over gathered slots: CPU path, reference and fallback."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.attention.base import AttentionBackend
from engine.batch import Batch, ShapeGroup
from engine.cache.pages import NULL_PAGE
from engine.cache.storage import KVStorage
from models.decoder import Attention


@dataclass(frozen=True)
class _Gather:
    """One shape group's reads: slots int64 [batch · keys], additive mask [batch | 1, 1, rows, keys], flat rows."""

    rows: slice
    batch: int
    slots: Tensor
    mask: Tensor | None
    causal: bool


class TorchAttention(AttentionBackend):
    """Per layer: store the step's K/V, gather each group's keys in one copy, one SDPA call per shape group."""

    def prepare(self, batch: Batch) -> Attention:
        gathers = [self._gather(group) for group in batch.groups]
        return _PreparedAttention(self.storage, batch.write_slots, gathers)

    def _gather(self, group: ShapeGroup) -> _Gather:
        """Keys are the prefix, padded to the group's longest with the null page, then the window's own rows."""
        page_size, device = self.storage.page_size, self.storage.slots.device
        rows, shape = slice(group.start, group.start + group.rows), group.shape
        longest = int(group.prefix_lens.max())
        positions = np.arange(longest)
        prefix = group.block_table[:, positions // page_size] * page_size + positions % page_size
        beyond = positions >= group.prefix_lens[:, None]
        prefix[beyond] = NULL_PAGE * page_size
        slots = torch.from_numpy(np.concatenate([prefix, group.write_slots], 1).reshape(-1)).to(device)
        ragged = bool(beyond.any())
        if shape.full and not ragged:
            return _Gather(rows, group.batch, slots, None, False)
        if shape.causal and longest == 0:
            return _Gather(rows, group.batch, slots, None, True)
        # added to the scores: 0 where a row sees a key, -inf where not
        mask = np.zeros((group.batch if ragged else 1, 1, shape.rows, longest + shape.rows), dtype=np.float32)
        mask[..., longest:] = shape.bias()
        if ragged:
            mask[..., :longest] = np.where(beyond, np.float32("-inf"), np.float32(0))[:, None, None]
        return _Gather(rows, group.batch, slots, torch.from_numpy(mask).to(device, self.storage.dtype), False)


class _PreparedAttention:
    def __init__(self, storage: KVStorage, write_slots: Tensor, gathers: list[_Gather]) -> None:
        self.slots = storage.slots
        self.write_slots = write_slots
        self.gathers = gathers

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [rows, heads, head_dim]; k, v [rows, kv_heads, head_dim]; returns [rows, heads, head_dim]."""
        slots = self.slots[layer]
        slots.index_copy_(0, self.write_slots, torch.stack((k, v), 1).to(slots.dtype))
        outputs = [self._attend(slots, q[gather.rows], gather) for gather in self.gathers]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    @staticmethod
    def _attend(slots: Tensor, q: Tensor, gather: _Gather) -> Tensor:
        keys = slots.index_select(0, gather.slots).to(q.dtype).unflatten(0, (gather.batch, -1))
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
