"""Which attention back end an engine gets: what it was told, or the best that this machine can run."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from engine.attention.base import AttentionBackend
from engine.attention.native_window import NativeAttention
from engine.attention.torch_sdpa import TorchAttention
from engine.cache.storage import KVStorage
from engine.errors import EngineError
from models.inference import Kernels
from models.native.layer_operations import NativeOperations

#: what the kernels multiply; float64 is the torch back end's
TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def choose_kernels(name: str, device: torch.device, dtype: torch.dtype) -> Kernels:
    """`name` "auto" is Triton's on a CUDA device and C's on a CPU, or torch's where these cannot be.

    Raises EngineError where kernels were asked for by name and cannot be.
    """
    if name == "torch":
        return Kernels.TORCH
    if name == "native" or (name == "auto" and device.type == "cpu"):
        hindrance = _native_hindrance(device, dtype)
        if name == "native" and hindrance is not None:
            raise EngineError(f"--attention-backend native {hindrance}; use --attention-backend torch.")
        return Kernels.TORCH if hindrance else Kernels.NATIVE
    hindrance = _triton_hindrance(device, dtype) if name == "triton" or device.type == "cuda" else "needs a GPU"
    if name == "triton" and hindrance is not None:
        raise EngineError(f"--attention-backend triton {hindrance}; use --attention-backend torch.")
    return Kernels.TORCH if hindrance else Kernels.TRITON


def make_attention(kernels: Kernels, storage: KVStorage) -> AttentionBackend:
    """The back end these kernels are; Triton's is imported only here."""
    if kernels is Kernels.NATIVE:
        compiled = NativeAttention.kernels(storage.dtype)
        assert compiled is not None
        return NativeAttention(storage, compiled)
    if kernels is Kernels.TORCH:
        return TorchAttention(storage)
    from engine.attention.triton_window import TritonAttention

    return TritonAttention(storage)


def _native_hindrance(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the C kernels cannot be, or None; they are compiled here."""
    if device.type != "cpu":
        return "is for --device cpu"
    if NativeAttention.kernels(dtype) is None or NativeOperations.make(dtype) is None:
        return "needs a C compiler, and float32 or float64"
    return None


def _triton_hindrance(device: torch.device, dtype: torch.dtype) -> str | None:
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
