"""The Triton kernels on tables that live on the device; imported only where Triton is."""

from __future__ import annotations

from torch import Tensor

from engine.attention.triton_window import TritonAttention, WindowPlan, limits
from engine.cache.storage import KVStorage
from engine.resident.attention import ResidentAttention
from engine.window import WindowShape
from models.decoder import Attention


class TritonResident(ResidentAttention):
    """The state's table is the kernel's own; splits are launched for `context`, and shorter prefixes skip them."""

    def __init__(self, storage: KVStorage) -> None:
        self._attention = TritonAttention(storage)
        # kept for good, since graphs read them where they lie
        self._limits: dict[WindowShape, Tensor] = {}

    def prepare(self, table: Tensor, shape: WindowShape, context: int) -> Attention:
        rows = slice(0, len(table) * shape.rows)
        if shape not in self._limits:
            self._limits[shape] = limits(shape, table.device)
        return self._attention.planned([WindowPlan(rows, shape, table, self._limits[shape], context)])
