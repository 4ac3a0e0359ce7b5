"""Products by a C kernel, on a CPU: a row has the same bits with whatever rows it is computed."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn

#: how a weight's numbers may be kept, as product.c knows them; the first that holds every one of them exactly is taken
_HALVES = {torch.float16: 1, torch.bfloat16: 2}
_REAL = 0


class Products:
    """The kernel in one library, for float32 or float64."""

    def __init__(self, kernels: ctypes.CDLL, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.product, self.gated_product = kernels.product, kernels.gated_product
        self.product.argtypes = (*[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 6)
        self.gated_product.argtypes = (*[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 5)
        self.product.restype = self.gated_product.restype = None
        kernels.product_panel.restype = ctypes.c_int64
        #: numbers in a panel's row
        self.panel: int = kernels.product_panel()

    def kept_as(self, weight: Tensor) -> torch.dtype:
        """What holds every number of the weight exactly, in half the bytes where that can be."""
        if self.dtype == torch.float32:
            for half in _HALVES:
                if torch.equal(weight.to(half).to(weight.dtype), weight):
                    return half
        return self.dtype

    def panels(self, weight: Tensor) -> Tensor:
        """weight [in, out] as [panels, in, panel] of `kept_as`, the last panel filled up with zeros."""
        inputs, outputs = weight.shape
        count = -(-outputs // self.panel)
        panels = torch.zeros(count, inputs, self.panel, dtype=self.kept_as(weight))
        for number, columns in enumerate(weight.split(self.panel, 1)):
            panels[number, :, : columns.shape[1]] = columns
        return panels


class NativeLinear(nn.Module):
    """`Linear` in float32 or float64, on a weight that is read in panels."""

    def __init__(self, products: Products, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self._products, self.dtype = products, products.dtype
        self.inputs, self.outputs = weight.shape
        self.panels = nn.Parameter(products.panels(weight), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.contiguous(), requires_grad=False)
        #: how the panels are kept, as product.c knows it
        self.kept = _HALVES.get(self.panels.dtype, _REAL)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x [tokens, in] to [tokens, out]."""
        if residual is not None:
            return self.add_to(residual.clone(), x)
        return self._multiply(x, x.new_empty(x.shape[0], self.outputs), self.bias, onto=False)

    def add_to(self, out: Tensor, x: Tensor) -> Tensor:
        """out [tokens, out] + x @ weight + bias, in the memory of `out`."""
        return self._multiply(x, out if self.bias is None else out.add_(self.bias), None, onto=True)

    def _multiply(self, x: Tensor, out: Tensor, bias: Tensor | None, onto: bool) -> Tensor:
        assert out.is_contiguous() and x.shape[1] == self.inputs and x.dtype == out.dtype == self.dtype
        x = x.contiguous()
        self._products.product(
            x.data_ptr(),
            self.panels.data_ptr(),
            None if bias is None else bias.data_ptr(),
            out.data_ptr(),
            x.shape[0],
            self.inputs,
            self.outputs,
            self.kept,
            onto,
            torch.get_num_threads(),
        )
        return out

    @property
    def gates(self) -> bool:
        """Whether the outputs can be gates and ups of `gated`: each begin with a panel."""
        return self.outputs % (2 * self._products.panel) == 0

    def gated(self, x: Tensor) -> Tensor:
        """silu(gate) · up [tokens, out / 2] where this layer's outputs are gates and, behind them, ups."""
        assert self.gates and x.shape[1] == self.inputs and x.dtype == self.dtype
        x = x.contiguous()
        out = x.new_empty(x.shape[0], self.outputs // 2)
        self._products.gated_product(
            x.data_ptr(),
            self.panels.data_ptr(),
            None if self.bias is None else self.bias.data_ptr(),
            out.data_ptr(),
            x.shape[0],
            self.inputs,
            self.outputs // 2,
            self.kept,
            torch.get_num_threads(),
        )
        return out
