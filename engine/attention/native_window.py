"""Window attention on a CPU by a C kernel: pages are read in place, whatever shapes and lengths the windows have."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.attention.base import AttentionBackend
from engine.attention.torch_sdpa import TorchAttention
from engine.batch import Batch, ShapeGroup
from engine.cache.storage import KVStorage
from engine.window import IntArray
from models.decoder import Attention
from models.native.library import library

SOURCES = Path(__file__).parent / "native"

#: products of numbers in one layer from which on waking the other threads pays
MANY_PRODUCTS = 300_000

_ARRAYS = ("starts", "rows", "prefixes", "tables", "pages", "write_slots", "below", "from", "to")
_SIZES = ("windows", "heads", "kv_heads", "head_dim", "page_size", "most_rows", "threads", "kept")
#: how K and V are kept, as window.c knows it, where that is not what they are computed in
_KEPT = {torch.float16: 1}


class _Plan(ctypes.Structure):
    """`Plan` of window.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _SIZES),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
    )


class _Step(ctypes.Structure):
    """`Step` of window.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("slots", "q", "k", "v", "out")),
        *((name, ctypes.c_int64) for name in ("q_stride", "k_stride", "v_stride")),
    )


class NativeAttention(AttentionBackend):
    """Per layer one call for all windows, which also stores their K/V; trees of drafts are torch's."""

    def __init__(self, storage: KVStorage, kernels: ctypes.CDLL) -> None:
        super().__init__(storage)
        self._attend = kernels.window_attention
        self._attend.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        self._attend.restype = ctypes.c_int
        self._torch = TorchAttention(storage)

    @staticmethod
    def kernels(dtype: torch.dtype) -> ctypes.CDLL | None:
        """The compiled kernel, or None where this machine has none for `dtype`."""
        return library(SOURCES, dtype)

    def prepare(self, batch: Batch) -> Attention:
        limits = []
        for group in batch.groups:
            own = group.shape.limits()
            if own is None:
                return self._torch.prepare(batch)
            limits.append(np.tile(own, group.batch))
        return _PreparedAttention(self._attend, self.storage, _arrays(batch, np.concatenate(limits, 1)))


@dataclass(frozen=True)
class _Arrays:
    """What the kernel reads of a batch, each int64 without gaps and kept alive here; `pairs`: rows · keys they see."""

    named: dict[str, IntArray]
    most_rows: int
    pairs: int


def _arrays(batch: Batch, limits: IntArray) -> _Arrays:
    groups = batch.groups
    rows = np.concatenate([np.full(group.batch, group.shape.rows) for group in groups])
    prefixes = np.concatenate([group.prefix_lens for group in groups])
    widths = np.concatenate([np.full(group.batch, group.block_table.shape[1]) for group in groups])
    named = {
        "starts": np.concatenate([_starts(group) for group in groups]),
        "rows": rows,
        "prefixes": prefixes,
        "tables": np.cumsum(widths) - widths,
        "pages": np.concatenate([group.block_table.reshape(-1) for group in groups]),
        "write_slots": batch.write_slots.numpy(),
        "below": limits[0],
        "from": limits[1],
        "to": limits[2],
    }
    named = {name: np.ascontiguousarray(array, dtype=np.int64) for name, array in named.items()}
    return _Arrays(named, int(rows.max()), int((rows * (prefixes + rows)).sum()))


def _starts(group: ShapeGroup) -> IntArray:
    return group.start + np.arange(group.batch) * group.shape.rows


class _PreparedAttention:
    def __init__(self, attend: ctypes._NamedFuncPointer, storage: KVStorage, arrays: _Arrays) -> None:
        self._attend = attend
        self._slots = storage.slots
        self._page_size = storage.page_size
        self._arrays = arrays
        self._plan: _Plan | None = None

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [rows, heads, head_dim]; k, v [rows, kv_heads, head_dim]; returns [rows, heads, head_dim].

        Raises MemoryError where there is no room for the sums of the widest window.
        """
        q, k, v = _heads_together(q), _heads_together(k), _heads_together(v)
        plan = self._plan = self._plan or self._planned(q.shape[1], k.shape[1], q.shape[2])
        out = torch.empty(q.shape, dtype=q.dtype)
        step = _Step(
            self._slots[layer].data_ptr(),
            q.data_ptr(),
            k.data_ptr(),
            v.data_ptr(),
            out.data_ptr(),
            q.stride(0),
            k.stride(0),
            v.stride(0),
        )
        if self._attend(ctypes.addressof(plan), ctypes.addressof(step)):
            raise MemoryError("attention found no memory to work in")
        return out

    def _planned(self, heads: int, kv_heads: int, head_dim: int) -> _Plan:
        arrays = self._arrays
        products = 2 * arrays.pairs * heads * head_dim
        return _Plan(
            windows=len(arrays.named["starts"]),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            page_size=self._page_size,
            most_rows=arrays.most_rows,
            threads=torch.get_num_threads() if products >= MANY_PRODUCTS else 1,
            kept=_KEPT.get(self._slots.dtype, 0),
            scale=head_dim**-0.5,
            **{name: array.ctypes.data for name, array in arrays.named.items()},
        )


def _heads_together(x: Tensor) -> Tensor:
    """x [rows, heads, head_dim] with each row's heads side by side in memory, as they come from one projection."""
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()
