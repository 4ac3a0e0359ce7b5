"""Block shapes of the Triton kernels, from the window's shape, the model and the device, never from the batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch

#: shared memory of one block on sm_80 and later data-centre GPUs; smaller GPUs get fewer stages and smaller blocks
SHARED_BYTES = 160 * 1024


@dataclass(frozen=True)
class Tiles:
    """`rows` pairs of window row and query head and `keys` keys per block; a prefix is cut every `split` keys.

    `max_splits` bounds the cuts, and with them the memory of partial results; longer prefixes get longer splits.
    """

    rows: int
    keys: int
    split: int
    max_splits: int
    warps: int
    stages: int


def choose_tiles(packed: int, head_dim: int, dtype: torch.dtype, shared_bytes: int = SHARED_BYTES) -> Tiles:
    """For windows of `packed` = rows · query heads per KV head.

    Small windows are bound by reading the prefix and need many splits to keep a GPU busy; large ones have row tiles
    enough, and each split costs them partial results in proportion to their rows.
    """
    split, max_splits = _splits(packed)
    block_dim = padded(head_dim)
    rows = min(padded(packed), 64 if packed <= 256 or block_dim > 128 else 128)
    # larger blocks spill registers
    keys = 64 if block_dim <= 128 else 32
    warps, stages = 8 if rows == 128 or block_dim > 128 else 4, 3
    if dtype == torch.float32:
        # no tensor cores: products are unrolled over registers, and blocks of this size still fit them
        rows, keys, warps, stages = min(rows, 32 if block_dim <= 64 else 16), 32, 8, 2
    while (rows + 2 * stages * keys) * block_dim * dtype.itemsize > shared_bytes:
        if stages > 2:
            stages -= 1
        elif keys > 16:
            keys //= 2
        else:
            rows //= 2
    return Tiles(rows, keys, split, max_splits, warps, stages)


def padded(size: int) -> int:
    """The next power of two, and no less than the 16 that a matrix product needs."""
    return max(16, 1 << (size - 1).bit_length())


def _splits(packed: int) -> tuple[int, int]:
    if packed <= 64:
        return 256, 64
    if packed <= 1024:
        return 512, 16
    if packed <= 4096:
        return 2048, 8
    return 2**30, 1
