"""The sampling kernels' launches that are compiled ahead of time, at the vocabulary of Qwen3."""

from __future__ import annotations

from typing import Any

from engine.sampling.kernels import thresholds
from engine.sampling.kernels.noisy_argmax import BLOCK, block_best_kernel, row_best_kernel
from tests.ahead_of_time import Launch

VOCAB = 151936
TYPES = {
    "logits": "*fp32", "temperatures": "*fp32", "seeds": "*i64", "positions": "*i64", "thresholds": "*fp32",
    "best": "*fp32", "where": "*i32", "tokens": "*i64", "top_k": "*i64", "top_p": "*fp32", "min_p": "*fp32",
    "log_min_p": "*fp32", "counts": "*i64", "masses": "*i64", "found": "*fp32", "row_stride": "i32:16",
    "blocks": "i32", "turn": "i32",
}  # fmt: skip


def launches(capability: int) -> dict[str, Launch]:
    blocks, plain = {"vocab": VOCAB, "block": BLOCK}, {"thresholds": None}
    parts, keys = {"vocab": VOCAB, "block": thresholds.BLOCK}, {"best": "*i64"}
    return {
        "blocks": _launch(block_best_kernel, {**blocks, **plain}),
        "bfloat16": _launch(block_best_kernel, {**blocks, **plain}, logits="*bf16"),
        "filtered": _launch(block_best_kernel, blocks),
        "rows": _launch(row_best_kernel, {"block": 128}),
        "best": _launch(thresholds.best_key_kernel, parts, **keys),
        "counts": _launch(thresholds.count_kernel, parts),
        "masses": _launch(thresholds.mass_kernel, parts, **keys),
        "masses of bfloat16": _launch(thresholds.mass_kernel, parts, **keys, logits="*bf16"),
        "thresholds": _launch(thresholds.threshold_kernel, {"vocab": VOCAB}, **keys),
    }


def _launch(kernel: Any, constants: dict[str, Any], **types: str) -> Launch:
    """The kernel with the types that its arguments have by name, but for these."""
    known = {**TYPES, **types}
    return Launch(kernel, {n: known[n] for n in kernel.arg_names if n not in constants}, constants)
