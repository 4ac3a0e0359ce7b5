"""A layer's small operations by Triton kernels, one file each."""

from __future__ import annotations

from torch import Tensor

from models.fusing import LayerOperations, Norms
from models.kernels.rms_norm import rms_norm
from models.kernels.rotary import rotate_heads
from models.kernels.swiglu import swiglu


class TritonOperations(LayerOperations):
    """Any floating dtype; sums are float32."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, delta: Tensor | None = None) -> Tensor:
        return rms_norm(x, weight, eps, delta)

    def rotate_heads(self, heads: Tensor, cos: Tensor, sin: Tensor, query_heads: int, norms: Norms | None) -> None:
        rotate_heads(heads, cos, sin, query_heads, norms)

    def swiglu(self, gate_up: Tensor) -> Tensor:
        return swiglu(gate_up)
