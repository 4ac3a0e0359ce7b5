"""Which attention back end an engine gets: what it was told, or the best that this machine can run."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from engine.attention.base import AttentionBackend
from engine.attention.torch_sdpa import TorchAttention
from engine.cache.storage import KVStorage
from engine.errors import EngineError

#: what the kernels multiply; float64 is the torch back end's
TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def make_attention(name: str, storage: KVStorage) -> AttentionBackend:
    """The back end called `name`; "auto" is Triton on a CUDA device where it can be, torch elsewhere.

    Raises EngineError where Triton was asked for and cannot be.
    """
    if name == "torch":
        return TorchAttention(storage)
    hindrance = _hindrance(storage)
    if name == "auto" and (storage.slots.device.type != "cuda" or hindrance is not None):
        return TorchAttention(storage)
    if hindrance is not None:
        raise EngineError(f"--attention-backend triton {hindrance}; use --attention-backend torch.")
    from engine.attention.triton_window import TritonAttention

    return TritonAttention(storage)


def _hindrance(storage: KVStorage) -> str | None:
    """Why Triton cannot be, or None."""
    if find_spec("triton") is None:
        return "needs Triton, which is not installed (pip install 'tidar-serve[gpu]')"
    if storage.slots.dtype not in TRITON_DTYPES:
        return f"cannot compute in {str(storage.slots.dtype).removeprefix('torch.')}"
    if storage.slots.device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(storage.slots.device)
        return None if major >= 8 else f"needs a GPU of compute capability 8.0 or later, not {major}.{minor}"
    import triton

    # Triton's own interpreter runs kernels without a GPU, far too slowly to serve
    return None if triton.knobs.runtime.interpret else "needs a CUDA device"
