"""The sampling kernels' launches that are compiled ahead of time, at the vocabulary of Qwen3."""

from __future__ import annotations

from engine.sampling.kernels.noisy_argmax import BLOCK, block_best_kernel, row_best_kernel
from tests.ahead_of_time import Launch


def launches(capability: int) -> dict[str, Launch]:
    types = {
        "logits": "*fp32", "temperatures": "*fp32", "seeds": "*i64", "positions": "*i64", "best": "*fp32",
        "where": "*i32", "row_stride": "i32:16", "blocks": "i32",
    }  # fmt: skip
    best = {"best": "*fp32", "where": "*i32", "tokens": "*i64", "blocks": "i32"}
    return {
        "blocks": Launch(block_best_kernel, types, {"vocab": 151936, "block": BLOCK}),
        "bfloat16": Launch(block_best_kernel, {**types, "logits": "*bf16"}, {"vocab": 151936, "block": BLOCK}),
        "rows": Launch(row_best_kernel, best, {"block": 128}),
    }
