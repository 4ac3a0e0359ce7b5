"""Dtypes by the names that flags give them, and what K and V are kept in."""

from __future__ import annotations

import torch

from engine.config import EngineConfig
from engine.errors import EngineError
from models.inference import Kernels

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "half": torch.float16,
    "float": torch.float32,
}


def cache_dtype(config: EngineConfig, dtype: torch.dtype, kernels: Kernels) -> torch.dtype:
    """ "auto" is `dtype`, which the model computes in; float16 holds twice the tokens of float32 in the same memory.

    Raises EngineError for what cannot be kept.
    """
    name = config.kv_cache_dtype
    if name == "auto":
        return dtype
    if name not in DTYPES:
        raise EngineError(f"--kv-cache-dtype {name!r} is not known; use one of auto, {', '.join(DTYPES)}.")
    kept = DTYPES[name]
    if kept != dtype and not (kept == torch.float16 and dtype == torch.float32 and kernels is not Kernels.TRITON):
        computed = str(dtype).removeprefix("torch.")
        raise EngineError(
            f"--kv-cache-dtype {name} does not go with computing in {computed}; use auto or {computed}, "
            "or float16 on a CPU that computes in float32."
        )
    return kept
