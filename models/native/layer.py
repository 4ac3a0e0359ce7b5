"""A layer in two calls, before attention and after it, on a CPU."""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.decoder import Layer
from models.fusing import FusedLayer
from models.native.linear import NativeLinear

if TYPE_CHECKING:
    from models.native.layer_operations import NativeOperations

_POINTER, _SIZE, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
_PRODUCTS = ("qkv", "output", "gate_up", "down")
_NORMS = ("attention_norm", "mlp_norm", "query_norm", "key_norm")


class _Weight(ctypes.Structure):
    """`Weight` of halves.c."""

    _fields_ = (("panels", _POINTER), ("bias", _POINTER), *((name, _SIZE) for name in ("inputs", "outputs", "kept")))


class _Layer(ctypes.Structure):
    """`Layer` of halves.c."""

    _fields_ = (
        *((name, _Weight) for name in _PRODUCTS),
        *((name, _POINTER) for name in _NORMS),
        *((name, _SIZE) for name in ("queries", "rotated", "head_dim")),
        *((name, _REAL) for name in ("attention_eps", "mlp_eps", "head_eps")),
    )


class Halves:
    """The kernels in one library, for float32 or float64."""

    def __init__(self, kernels: ctypes.CDLL) -> None:
        self.before, self.after = kernels.layer_before, kernels.layer_after
        self.before.argtypes = (*[_POINTER] * 5, _SIZE, _SIZE)
        self.after.argtypes = (*[_POINTER] * 3, _SIZE, _SIZE)
        self.before.restype = self.after.restype = ctypes.c_int


class NativeLayer(FusedLayer):
    """`FusedLayer` with the same bits, in fewer calls where all its products are the kernel's own."""

    def __init__(self, layer: Layer, operations: NativeOperations, halves: Halves) -> None:
        super().__init__(layer, operations)
        self._halves = halves

    def _before(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        whole = self.whole
        if whole is None:
            return super()._before(x, cos, sin)
        assert x.is_contiguous()
        rows = x.shape[0]
        heads = x.new_empty(rows, self.num_heads + 2 * self.num_kv_heads, self.head_dim)
        self._call(self._halves.before, whole, x.data_ptr(), cos.data_ptr(), sin.data_ptr(), heads.data_ptr(), rows)
        return self._split(heads)

    def _after(self, x: Tensor, attended: Tensor) -> Tensor:
        whole = self.whole
        if whole is None:
            return super()._after(x, attended)
        attended = attended.contiguous()
        self._call(self._halves.after, whole, x.data_ptr(), attended.data_ptr(), x.shape[0])
        return x

    @staticmethod
    def _call(half: ctypes._NamedFuncPointer, whole: _Layer, *arguments: int) -> None:
        if half(ctypes.addressof(whole), *arguments, torch.get_num_threads()):
            raise MemoryError("a layer found no memory to work in")

    @cached_property
    def whole(self) -> _Layer | None:
        """What the kernels read, or None where a product is another's than the kernel's.

        Made for the first forward: until then products may still be adapted or split.
        """
        products = [getattr(self, name) for name in _PRODUCTS]
        if not all(isinstance(product, NativeLinear) for product in products) or not self.gate_up.gates:
            return None
        norms = [self.attention_norm.weight, self.mlp_norm.weight, None, None]
        head_eps = 0.0
        if self.q_norm is not None and self.k_norm is not None:
            norms[2:] = self.q_norm.weight, self.k_norm.weight
            head_eps = self.q_norm.eps
        return _Layer(
            *(_weight(product) for product in products),
            *(None if norm is None else norm.data_ptr() for norm in norms),
            queries=self.num_heads,
            rotated=self.num_heads + self.num_kv_heads,
            head_dim=self.head_dim,
            attention_eps=self.attention_norm.eps,
            mlp_eps=self.mlp_norm.eps,
            head_eps=head_eps,
        )


def _weight(product: NativeLinear) -> _Weight:
    bias = None if product.bias is None else product.bias.data_ptr()
    return _Weight(product.panels.data_ptr(), bias, product.inputs, product.outputs, product.kept)
