"""Layers for inference on a GPU: the same sums as models.decoder, with the small operations between products fused."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from models.decoder import Attention, Decoder, Layer, RMSNorm
from models.kernels.rms_norm import rms_norm
from models.kernels.rotary import rotate_heads
from models.kernels.swiglu import swiglu
from models.linear import Linear


def fuse_layers(decoder: Decoder) -> None:
    """Replace the decoder's layers by fused ones for inference, in place, on the same weights; Triton must be there."""
    decoder.layers = nn.ModuleList(FusedLayer(cast(Layer, layer)) for layer in decoder.layers)


class FusedLayer(nn.Module):
    """`Layer` in four products, attention and four kernels; the residual stream is updated where it lies."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.index = layer.index
        self.num_heads, self.num_kv_heads, self.head_dim = layer.num_heads, layer.num_kv_heads, layer.head_dim
        self.attention_norm, self.mlp_norm = cast(RMSNorm, layer.attention_norm), cast(RMSNorm, layer.mlp_norm)
        self.q_norm, self.k_norm = layer.q_norm, layer.k_norm
        self.qkv, self.output, self.gate_up, self.down = layer.qkv, layer.output, layer.gate_up, layer.down

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> Tensor:
        """As `Layer`'s; x is overwritten."""
        q, k, v = self._qkv(rms_norm(x, self.attention_norm.weight, self.attention_norm.eps), cos, sin)
        attended = self.output(attention(self.index, q, k, v).flatten(-2))
        normed = rms_norm(x, self.mlp_norm.weight, self.mlp_norm.eps, delta=attended)
        return _add_product(x, swiglu(self.gate_up(normed)), self.down)

    def _qkv(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads: Tensor = self.qkv(x).unflatten(-1, (self.num_heads + 2 * self.num_kv_heads, self.head_dim))
        norms = None
        if self.q_norm is not None and self.k_norm is not None:
            norms = self.q_norm.weight, self.k_norm.weight, self.q_norm.eps
        rotated = self.num_heads + self.num_kv_heads
        rotate_heads(heads[:, :rotated], cos, sin, self.num_heads, norms)
        return heads[:, : self.num_heads], heads[:, self.num_heads : rotated], heads[:, rotated:]


def _add_product(x: Tensor, y: Tensor, linear: nn.Module) -> Tensor:
    """x + linear(y) in x's own memory: a plain product adds as it stores."""
    if not isinstance(linear, Linear):
        return x.add_(linear(y))
    x.addmm_(y, linear.weight)
    return x if linear.bias is None else x.add_(linear.bias)
