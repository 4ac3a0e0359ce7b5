"""What a layer is made of by C kernels, on a CPU: the same sums as their twins in models.decoder and models.rope."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from models.decoder import Layer
from models.fusing import LayerOperations, Norms
from models.native.layer import Halves, NativeLayer
from models.native.library import library
from models.native.linear import NativeLinear, Products

_POINTER, _SIZE, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double


class NativeOperations(LayerOperations):
    """float32 or float64; every tensor but `heads` lies in memory without gaps, as products leave theirs."""

    def __init__(self, kernels: ctypes.CDLL, dtype: torch.dtype) -> None:
        self._products, self._halves = Products(kernels, dtype), Halves(kernels)
        self._rms_norm, self._rotate, self._swiglu = kernels.rms_norm, kernels.rotate_heads, kernels.swiglu
        self._rms_norm.argtypes = (*[_POINTER] * 4, _SIZE, _SIZE, _REAL, _SIZE)
        self._rotate.argtypes = (_POINTER, _SIZE, *[_POINTER] * 4, *[_SIZE] * 4, _REAL, _SIZE)
        self._swiglu.argtypes = (_POINTER, _POINTER, _SIZE, _SIZE, _SIZE)
        for function in (self._rms_norm, self._rotate, self._swiglu):
            function.restype = None

    @classmethod
    def make(cls, dtype: torch.dtype) -> NativeOperations | None:
        """None where this machine has no kernels for `dtype`."""
        kernels = library(Path(__file__).parent, dtype)
        return None if kernels is None else cls(kernels, dtype)

    def fuse(self, layer: Layer) -> NativeLayer:
        return NativeLayer(layer, self, self._halves)

    def linear(self, weight: Tensor, bias: Tensor | None) -> NativeLinear:
        """weight [in, out], bias [out]."""
        return NativeLinear(self._products, weight, bias)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, delta: Tensor | None = None) -> Tensor:
        assert x.is_contiguous() and (delta is None or delta.is_contiguous())
        out = torch.empty_like(x)
        self._rms_norm(
            x.data_ptr(),
            None if delta is None else delta.data_ptr(),
            weight.data_ptr(),
            out.data_ptr(),
            *x.shape,
            eps,
            torch.get_num_threads(),
        )
        return out

    def rotate_heads(self, heads: Tensor, cos: Tensor, sin: Tensor, query_heads: int, norms: Norms | None) -> None:
        query_norm, key_norm, eps = norms or (None, None, 0.0)
        tokens, count, head_dim = heads.shape
        self._rotate(
            heads.data_ptr(),
            heads.stride(0),
            cos.data_ptr(),
            sin.data_ptr(),
            None if query_norm is None else query_norm.data_ptr(),
            None if key_norm is None else key_norm.data_ptr(),
            tokens,
            query_heads,
            count,
            head_dim,
            eps,
            torch.get_num_threads(),
        )

    def swiglu(self, gate_up: Tensor) -> Tensor:
        assert gate_up.is_contiguous()
        rows, width = gate_up.shape
        out = gate_up.new_empty(rows, width // 2)
        self._swiglu(gate_up.data_ptr(), out.data_ptr(), rows, width // 2, torch.get_num_threads())
        return out
