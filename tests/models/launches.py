"""The small kernels' launches that are compiled ahead of time, at the shapes of Qwen2.5-1.5B and Qwen3-8B."""

from __future__ import annotations

from models.kernels.rms_norm import norm_warps, rms_norm_kernel
from models.kernels.rotary import HEADS, rotate_kernel
from models.kernels.swiglu import BLOCK, swiglu_kernel
from tests.ahead_of_time import Launch


def launches(capability: int) -> dict[str, Launch]:
    return {
        "norm 1536": _norm("*bf16", 1536, 2048, adds=False),
        "norm with residual 4096": _norm("*bf16", 4096, 4096, adds=True),
        "norm float32": _norm("*fp32", 4096, 4096, adds=True),
        "rotate": _rotate("*bf16", 14, 12, normed=False),
        "rotate with norms": _rotate("*bf16", 40, 32, normed=True),
        "swiglu": Launch(swiglu_kernel, {"gate_up": "*bf16", "out": "*bf16"}, {"size": 8960, "block": BLOCK}),
    }


def _norm(dtype: str, size: int, block: int, adds: bool) -> Launch:
    types = {**dict.fromkeys(("x", "delta", "weight", "out"), dtype), "eps": "fp32"}
    return Launch(rms_norm_kernel, types, {"size": size, "block": block, "adds": adds}, norm_warps(block))


def _rotate(dtype: str, count: int, query_heads: int, normed: bool) -> Launch:
    types = {**dict.fromkeys(("heads", "cos", "sin", "query_norm", "key_norm"), dtype), "eps": "fp32", "row": "i32:16"}
    constants = {"count": count, "query_heads": query_heads, "block_heads": HEADS, "head_dim": 128, "block": 64}
    return Launch(rotate_kernel, types, {**constants, "normed": normed})
