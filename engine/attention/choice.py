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


def uses_triton(name: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the back end called `name` is Triton's; "auto" is on a CUDA device where Triton can be.

    Raises EngineError where Triton was asked for and cannot be.
    """
    if name == "torch" or (name == "auto" and device.type != "cuda"):
        return False
    hindrance = _hindrance(device, dtype)
    if name == "triton" and hindrance is not None:
        raise EngineError(f"--attention-backend triton {hindrance}; use --attention-backend torch.")
    return hindrance is None


def make_attention(triton: bool, storage: KVStorage) -> AttentionBackend:
    """Triton's back end, which is imported only here, or torch's."""
    if not triton:
        return TorchAttention(storage)
    from engine.attention.triton_window import TritonAttention

    return TritonAttention(storage)


def _hindrance(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why Triton cannot be, or None."""
    if find_spec("triton") is None:
        return "needs Triton, which is not installed (pip install 'tidar-serve[gpu]')"
    if dtype not in TRITON_DTYPES:
        return f"cannot compute in {str(dtype).removeprefix('torch.')}"
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return None if major >= 8 else f"needs a GPU of compute capability 8.0 or later, not {major}.{minor}"
    import triton

    # Triton's own interpreter runs kernels without a GPU, far too slowly to serve
    return None if triton.knobs.runtime.interpret else "needs a CUDA device"
