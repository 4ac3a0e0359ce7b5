"""The attention kernels' launches that are compiled ahead of time, as the back end would make them."""

from __future__ import annotations

import torch

from engine.attention.kernels.combine import combine_splits
from engine.attention.kernels.window import window_attention
from engine.attention.tiles import choose_tiles
from engine.attention.triton_window import combine_constants, window_constants
from tests.ahead_of_time import Launch

TYPES = {torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.float32: "*fp32"}
SIZES = ("rows", "table_row", "splits")


def window_launch(packed: int, ratio: int, head_dim: int, dtype: torch.dtype, causal: bool, page_size: int) -> Launch:
    """`packed` = window rows · query heads per KV head, which decides the tiles."""
    tiles = choose_tiles(packed, head_dim, dtype)
    types = {
        **dict.fromkeys(("q", "k", "v", "cache", "out"), TYPES[dtype]),
        **dict.fromkeys(("table", "limits"), "*i32"),
        **dict.fromkeys(("pieces", "weight"), "*fp32"),
        **dict.fromkeys(("q_row", "k_row", "v_row", "out_row", "cache_row"), "i32:16"),
        **dict.fromkeys((*SIZES, "clean", "tiles"), "i32"),
        "scale": "fp32",
    }
    constants = window_constants(tiles, ratio, head_dim, page_size, causal)
    return Launch(window_attention, types, constants, tiles.warps, tiles.stages)


def combine_launch(packed: int, head_dim: int, dtype: torch.dtype) -> Launch:
    types = {
        **dict.fromkeys(("pieces", "weight"), "*fp32"),
        **dict.fromkeys(SIZES, "i32"),
        "table": "*i32",
        "out": TYPES[dtype],
        "out_row": "i32:16",
    }
    return Launch(combine_splits, types, combine_constants(choose_tiles(packed, head_dim, dtype), head_dim))


def launches(capability: int) -> dict[str, Launch]:
    """AR, TiDAR windows and prompt chunks of Qwen2.5-1.5B (6:1 of 128) everywhere; more heads and dtypes on sm_90."""
    half = torch.bfloat16
    every = {
        "one token": window_launch(6, 6, 128, half, causal=True, page_size=16),
        "k=8, full": window_launch(432, 6, 128, half, causal=False, page_size=16),
        "prompt chunk": window_launch(3072, 6, 128, half, causal=True, page_size=16),
        "combine": combine_launch(432, 128, half),
    }
    if capability != 90:
        return every
    return {
        **every,
        "k=8, one group, 3:1": window_launch(48, 3, 128, half, causal=False, page_size=16),
        "combine many": combine_launch(6, 256, half),
        "64, odd pages": window_launch(864, 12, 64, half, causal=False, page_size=5),
        "80": window_launch(272, 1, 80, half, causal=False, page_size=16),
        "96, float16": window_launch(1024, 1, 96, torch.float16, causal=True, page_size=16),
        "256": window_launch(320, 4, 256, half, causal=False, page_size=16),
        "256, prompt chunk": window_launch(4096, 4, 256, half, causal=True, page_size=64),
        "float32": window_launch(432, 6, 128, torch.float32, causal=False, page_size=16),
        "float32, 256": window_launch(2048, 8, 256, torch.float32, causal=True, page_size=16),
    }
