"""Window attention in Triton: prefixes are read in place, and the kernel itself stores the step's clean rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
import triton
from torch import Tensor

from engine.attention.base import AttentionBackend
from engine.attention.kernels.combine import combine_splits
from engine.attention.kernels.window import window_attention
from engine.attention.tiles import SHARED_BYTES, Tiles, choose_tiles, padded
from engine.batch import Batch, ShapeGroup
from engine.cache.storage import KVStorage
from engine.errors import EngineError
from engine.window import Shape
from models.decoder import Attention

TileChoice = Callable[[int, int, torch.dtype], Tiles]

#: splits that the combining kernel reads at once
COMBINED = 16


@dataclass(frozen=True)
class WindowPlan:
    """One shape group's launch, the same in every layer: flat rows, prefix lengths with page numbers, row limits."""

    rows: slice
    shape: Shape
    table: Tensor
    limits: Tensor
    longest: int


class TritonAttention(AttentionBackend):
    """Per layer one launch for each shape group, and one more where a prefix is cut into splits.

    `tiles` gives the block shapes for (rows · query heads per KV head, head_dim, dtype).
    """

    def __init__(self, storage: KVStorage, tiles: TileChoice | None = None) -> None:
        super().__init__(storage)
        if storage.slots.device.type == "cuda":
            # Triton launches on the current device
            torch.cuda.set_device(storage.slots.device)
        self.tiles = tiles or partial(choose_tiles, shared_bytes=shared_bytes(storage.slots.device))

    def prepare(self, batch: Batch) -> Attention:
        return self.planned([self._plan(group) for group in batch.groups])

    def planned(self, plans: list[WindowPlan]) -> Attention:
        """Attention by plans whose tables are on the device; `longest` may be more than any prefix."""
        return _PreparedAttention(self.storage, plans, self.tiles)

    def _plan(self, group: ShapeGroup) -> WindowPlan:
        device = self.storage.slots.device
        table = np.concatenate([group.prefix_lens[:, None], group.block_table], 1).astype(np.int32)
        rows = slice(group.start, group.start + group.rows)
        longest = int(group.prefix_lens.max())
        return WindowPlan(rows, group.shape, torch.from_numpy(table).to(device), limits(group.shape, device), longest)


class _PreparedAttention:
    def __init__(self, storage: KVStorage, plans: list[WindowPlan], tiles: TileChoice) -> None:
        self.storage = storage
        self.plans = plans
        self.tiles = tiles

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [rows, heads, head_dim]; k, v [rows, kv_heads, head_dim]; returns [rows, heads, head_dim]."""
        q, k, v = heads_together(q), heads_together(k), heads_together(v)
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        ratio = q.shape[1] // k.shape[1]
        for plan in self.plans:
            tiles = self.tiles(plan.shape.rows * ratio, q.shape[2], q.dtype)
            rows = plan.rows
            attend(q[rows], k[rows], v[rows], self.storage.slots[layer], self.storage.page_size, plan, tiles, out[rows])
        return out


def attend(
    q: Tensor, k: Tensor, v: Tensor, slots: Tensor, page_size: int, plan: WindowPlan, tiles: Tiles, out: Tensor
) -> None:
    """Attention of one shape group into `out`, and its clean rows' K/V into slots [slots, 2, kv_heads, head_dim]."""
    shape, batch = plan.shape, plan.table.shape[0]
    heads, kv_heads, head_dim = q.shape[1], k.shape[1], q.shape[2]
    ratio = heads // kv_heads
    row_tiles = -(-shape.rows * ratio // tiles.rows)
    splits = min(tiles.max_splits, max(1, -(-plan.longest // tiles.split)))
    pieces, weight = _pieces(out, splits)
    window_attention[(row_tiles * splits, kv_heads, batch)](
        q,
        k,
        v,
        slots,
        plan.table,
        plan.limits,
        out,
        pieces,
        weight,
        math.log2(math.e) / math.sqrt(head_dim),
        q.stride(0),
        k.stride(0),
        v.stride(0),
        out.stride(0),
        slots.stride(0),
        shape.rows,
        shape.clean,
        row_tiles,
        plan.table.stride(0),
        splits,
        **window_constants(tiles, ratio, head_dim, page_size, shape.causal),
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )
    if splits > 1:
        combine_splits[(batch * shape.rows, heads)](
            pieces,
            weight,
            plan.table,
            out,
            out.stride(0),
            shape.rows,
            plan.table.stride(0),
            splits,
            **combine_constants(tiles, head_dim),
        )


def window_constants(tiles: Tiles, ratio: int, head_dim: int, page_size: int, causal: bool) -> dict[str, int | bool]:
    """What `window_attention` is compiled for."""
    whole = tiles.rows // ratio if tiles.rows % ratio == 0 else (tiles.rows - 1) // ratio + 2
    return {
        "ratio": ratio,
        "head_dim": head_dim,
        "block_dim": padded(head_dim),
        "page_size": page_size,
        "block_rows": tiles.rows,
        "block_keys": tiles.keys,
        "store_rows": 1 << max(whole - 1, 0).bit_length(),
        "split": tiles.split,
        "max_splits": tiles.max_splits,
        "causal": causal,
    }


def combine_constants(tiles: Tiles, head_dim: int) -> dict[str, int]:
    """What `combine_splits` is compiled for."""
    return {
        "head_dim": head_dim,
        "block_dim": padded(head_dim),
        "block_keys": tiles.keys,
        "split": tiles.split,
        "max_splits": tiles.max_splits,
        "block_splits": min(COMBINED, tiles.max_splits),
    }


@lru_cache(maxsize=512)
def limits(shape: Shape, device: torch.device) -> Tensor:
    """The window mask on the device, int32 [3, rows] as `Shape.limits` has it; empty for a causal window, whose kernel
    knows."""
    if shape.causal:
        return torch.empty(3, 0, dtype=torch.int32, device=device)
    rows = shape.limits()
    if rows is None:
        raise EngineError("Triton attention knows no trees of drafts; use --attention-backend torch.")
    return torch.from_numpy(rows.astype(np.int32)).to(device)


def heads_together(x: Tensor) -> Tensor:
    """x [rows, heads, head_dim] with each row's heads side by side in memory, as they come from one projection."""
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()


@lru_cache(maxsize=16)
def shared_bytes(device: torch.device) -> int:
    """Shared memory that one block may use."""
    if device.type != "cuda":
        return SHARED_BYTES
    index = torch.cuda.current_device() if device.index is None else device.index
    return int(triton.runtime.driver.active.utils.get_device_properties(index)["max_shared_mem"])


def _pieces(out: Tensor, splits: int) -> tuple[Tensor, Tensor]:
    """Room for each split's result and its weight; none where the kernel writes to `out` itself."""
    rows, heads, head_dim = out.shape
    shape = (rows, heads, splits, head_dim) if splits > 1 else (1, 1, 1, head_dim)
    pieces = torch.empty(shape, dtype=torch.float32, device=out.device)
    return pieces, torch.empty(shape[:3], dtype=torch.float32, device=out.device)
