"""The tensors behind the pages: one slot per token, and scratch slots for rows that are never kept."""

from __future__ import annotations

import torch
from torch import Tensor

from models.config import ModelConfig


class KVStorage:
    """K and V of every layer, [layers, slots, 2, kv_heads, head_dim].

    Slot p·page_size + i is token i of page p. Behind the pages lie `scratch_rows` slots where a step puts
    the K/V of its mask rows: readable within the step, part of no page. They begin as `scratch_page`, which takes what
    a resident step writes for nobody. K and V are kept as `slots` has them and computed with as `dtype`.
    """

    def __init__(
        self,
        config: ModelConfig,
        num_pages: int,
        page_size: int,
        scratch_rows: int,
        dtype: torch.dtype,
        device: torch.device,
        cache_dtype: torch.dtype | None = None,
    ) -> None:
        """`cache_dtype` None keeps K and V as they are computed."""
        self.dtype = dtype
        self.page_size = page_size
        self.scratch_page = num_pages + 1
        self.scratch_start = self.scratch_page * page_size
        slots = self.scratch_start + max(scratch_rows, page_size)
        shape = (config.num_layers, slots, 2, config.num_kv_heads, config.head_dim)
        self.slots: Tensor = torch.zeros(shape, dtype=cache_dtype or dtype, device=device)

    def move(self, sources: list[int], targets: list[int]) -> None:
        """Copy K and V of every layer from slots to slots; none is in both lists."""
        device = self.slots.device
        kept = self.slots.index_select(1, torch.tensor(sources, device=device))
        self.slots.index_copy_(1, torch.tensor(targets, device=device), kept)

    @property
    def num_bytes(self) -> int:
        return self.slots.numel() * self.slots.element_size()

    @staticmethod
    def bytes_per_page(config: ModelConfig, page_size: int, dtype: torch.dtype) -> int:
        """Bytes one page takes over all layers, K and V."""
        return 2 * config.num_layers * config.kv_size * page_size * dtype.itemsize
