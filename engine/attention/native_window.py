"""Window attention on a CPU by a C kernel: pages are read in place, whatever shapes and lengths the windows have."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.attention.base import AttentionBackend
from engine.attention.torch_sdpa import TorchAttention
from engine.batch import Batch
from engine.cache.storage import KVStorage
from engine.window import IntArray, Shape
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
        layouts = [_layout(group.shape, group.batch) for group in batch.groups]
        if None in layouts:
            return self._torch.prepare(batch)
        return _PreparedAttention(self._attend, self.storage, _arrays(batch, [each for each in layouts if each]))


@dataclass(frozen=True)
class _Layout:
    """What all groups of one shape and size have in common, int64: of each window the first row in the group and the
    number of rows [batch]; of each row what it sees, [3, batch · rows] (see Shape.limits)."""

    starts: IntArray
    rows: IntArray
    limits: IntArray


@lru_cache(maxsize=256)
def _layout(shape: Shape, batch: int) -> _Layout | None:
    """None for shapes whose rows see more than two ranges."""
    limits = shape.limits()
    if limits is None:
        return None
    return _Layout(np.arange(batch) * shape.rows, np.full(batch, shape.rows), np.tile(limits, batch))


@dataclass(frozen=True)
class _Arrays:
    """What the kernel reads of a batch: `packed` int64, all of `_ARRAYS` one after another, and where each begins."""

    packed: IntArray
    begins: list[int]
    windows: int
    most_rows: int
    #: rows · keys they see
    pairs: int

    def pointers(self) -> dict[str, int]:
        base, size = self.packed.ctypes.data, self.packed.itemsize
        return {name: base + begin * size for name, begin in zip(_ARRAYS, self.begins, strict=True)}


def _arrays(batch: Batch, layouts: list[_Layout]) -> _Arrays:
    groups = batch.groups
    tables: list[IntArray] = []
    pages = 0
    for group in groups:
        width = group.block_table.shape[1]
        tables.append(pages + np.arange(group.batch) * width)
        pages += group.batch * width
    # in the order of _ARRAYS
    named = (
        [layout.starts + group.start for group, layout in zip(groups, layouts, strict=True)],
        [layout.rows for layout in layouts],
        [group.prefix_lens for group in groups],
        tables,
        [group.block_table.reshape(-1) for group in groups],
        [batch.write_slots.numpy()],
        *([layout.limits[part] for layout in layouts] for part in range(3)),
    )
    ends = accumulate((sum(map(len, parts)) for parts in named), initial=0)
    pairs = sum(group.shape.rows * (int(group.prefix_lens.sum()) + group.rows) for group in groups)
    return _Arrays(
        packed=np.concatenate([part for parts in named for part in parts], dtype=np.int64),
        begins=list(ends)[:-1],
        windows=sum(group.batch for group in groups),
        most_rows=max(group.shape.rows for group in groups),
        pairs=pairs,
    )


class _PreparedAttention:
    def __init__(self, attend: ctypes._NamedFuncPointer, storage: KVStorage, arrays: _Arrays) -> None:
        self._attend = attend
        self._slots = storage.slots
        self._layer_bytes = storage.slots.stride(0) * storage.slots.element_size()
        self._step = _Step()
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
        step = self._step
        step.slots = self._slots.data_ptr() + layer * self._layer_bytes
        step.q, step.k, step.v, step.out = q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr()
        step.q_stride, step.k_stride, step.v_stride = q.stride(0), k.stride(0), v.stride(0)
        if self._attend(ctypes.addressof(plan), ctypes.addressof(step)):
            raise MemoryError("attention found no memory to work in")
        return out

    def _planned(self, heads: int, kv_heads: int, head_dim: int) -> _Plan:
        arrays = self._arrays
        products = 2 * arrays.pairs * heads * head_dim
        return _Plan(
            windows=arrays.windows,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            page_size=self._page_size,
            most_rows=arrays.most_rows,
            threads=torch.get_num_threads() if products >= MANY_PRODUCTS else 1,
            kept=_KEPT.get(self._slots.dtype, 0),
            scale=head_dim**-0.5,
            **arrays.pointers(),
        )


def _heads_together(x: Tensor) -> Tensor:
    """x [rows, heads, head_dim] with each row's heads side by side in memory, as they come from one projection."""
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()
