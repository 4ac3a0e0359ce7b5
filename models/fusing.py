"""Layers for inference: the same sums as models.decoder, with the small operations between products fused."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

from torch import Tensor, nn

from models.adapter.layers import AdaptedLinear
from models.decoder import Attention, Decoder, Layer, RMSNorm
from models.linear import Linear
from models.native.linear import NativeLinear

#: the weights [head_dim] of the query heads' norm and the key heads', and their eps
Norms = tuple[Tensor, Tensor, float]


class LayerOperations(ABC):
    """What lies between a layer's products and attention, each operation in one pass over its rows."""

    @abstractmethod
    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, delta: Tensor | None = None) -> Tensor:
        """x / rms(x) · weight over the last dimension of x [tokens, size]; with `delta`, x becomes x + delta first."""

    @abstractmethod
    def rotate_heads(self, heads: Tensor, cos: Tensor, sin: Tensor, query_heads: int, norms: Norms | None) -> None:
        """Norm, where there are `norms`, and rotate all of heads [tokens, query and key heads, head_dim], in place.

        Each row's heads lie side by side. cos, sin [tokens, 1, head_dim] of `Rope.tables`.
        """

    @abstractmethod
    def swiglu(self, gate_up: Tensor) -> Tensor:
        """silu(gate) · up for gate_up [tokens, 2 · size], as [tokens, size]."""

    def fuse(self, layer: Layer) -> FusedLayer:
        """The layer by these operations."""
        return FusedLayer(layer, self)


def fuse_layers(decoder: Decoder, operations: LayerOperations) -> None:
    """Replace the decoder's layers by fused ones for inference, in place, on the same weights."""
    decoder.layers = nn.ModuleList(operations.fuse(cast(Layer, layer)) for layer in decoder.layers)
    decoder.norm = FusedNorm(cast(RMSNorm, decoder.norm), operations)


class FusedNorm(nn.Module):
    """`RMSNorm` by the operations that the layers have."""

    def __init__(self, norm: RMSNorm, operations: LayerOperations) -> None:
        super().__init__()
        self.operations = operations
        self.weight, self.eps = norm.weight, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return self.operations.rms_norm(x, self.weight, self.eps)


class FusedLayer(nn.Module):
    """`Layer` in four products, attention and four operations; the residual stream is updated where it lies."""

    def __init__(self, layer: Layer, operations: LayerOperations) -> None:
        super().__init__()
        self.operations = operations
        self.index = layer.index
        self.num_heads, self.num_kv_heads, self.head_dim = layer.num_heads, layer.num_kv_heads, layer.head_dim
        self.attention_norm, self.mlp_norm = cast(RMSNorm, layer.attention_norm), cast(RMSNorm, layer.mlp_norm)
        self.q_norm, self.k_norm = layer.q_norm, layer.k_norm
        self.qkv, self.output, self.down = layer.qkv, layer.output, layer.down
        self.gate_up: nn.Module = layer.gate_up

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention, wanted: Tensor | None = None
    ) -> Tensor:
        """As `Layer`'s; x is overwritten."""
        q, k, v = self._before(x, cos, sin)
        attended = attention(self.index, q, k, v).flatten(-2)
        if wanted is not None:
            x, attended = x.index_select(0, wanted), attended.index_select(0, wanted)
        return self._after(x, attended)

    def _before(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [tokens, size] to queries, keys and values [tokens, heads, head_dim], rotated."""
        normed = self.operations.rms_norm(x, self.attention_norm.weight, self.attention_norm.eps)
        heads: Tensor = self.qkv(normed).unflatten(-1, (self.num_heads + 2 * self.num_kv_heads, self.head_dim))
        norms = None
        if self.q_norm is not None and self.k_norm is not None:
            norms = self.q_norm.weight, self.k_norm.weight, self.q_norm.eps
        rotated = self.num_heads + self.num_kv_heads
        self.operations.rotate_heads(heads[:, :rotated], cos, sin, self.num_heads, norms)
        return self._split(heads)

    def _split(self, heads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rotated = self.num_heads + self.num_kv_heads
        return heads[:, : self.num_heads], heads[:, self.num_heads : rotated], heads[:, rotated:]

    def _after(self, x: Tensor, attended: Tensor) -> Tensor:
        """x [tokens, size] with attended [tokens, heads · head_dim] and the feed-forward part added."""
        normed = self.operations.rms_norm(x, self.mlp_norm.weight, self.mlp_norm.eps, delta=self.output(attended))
        return _add_product(x, self._gated(normed), self.down)

    def _gated(self, x: Tensor) -> Tensor:
        if isinstance(self.gate_up, NativeLinear) and self.gate_up.gates:
            return self.gate_up.gated(x)
        return self.operations.swiglu(self.gate_up(x))


def _add_product(x: Tensor, y: Tensor, linear: nn.Module) -> Tensor:
    """x + linear(y) in x's own memory: a product adds as it stores, unless the layer is packed, quantised or split."""
    if isinstance(linear, AdaptedLinear):
        # the base adds as it would without the adapter, so that clean rows get the same bits
        return linear.adapt(_add_product(x, y, linear.base), y)
    if isinstance(linear, NativeLinear):
        return linear.add_to(x, y)
    if not isinstance(linear, Linear):
        return x.add_(linear(y))
    x.addmm_(y, linear.weight)
    return x if linear.bias is None else x.add_(linear.bias)
