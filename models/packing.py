"""Layers for inference on a CPU: the same sums as models.linear and models.decoder, laid out once for fast products.

A float32 weight that float16 holds exactly, as in a checkpoint saved in float16, is kept by FBGEMM in half the bytes:
reading weights is what few rows cost, and a row gets the same bits with however many rows it is computed. Any other
weight goes to oneDNN.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.decoder import Decoder, Layer, RMSNorm
from models.linear import Linear
from models.quantization import Int4Linear, Int8Linear

#: from a weight [in, out] and a bias to a layer that multiplies with them
Layout = Callable[[Tensor, Tensor | None], nn.Module]
#: a layer's products
PRODUCTS = ("qkv", "output", "gate_up", "down")
#: up to so many elements a weight is also kept in the form that is fastest for few rows
SMALL = 2**19
#: up to so many rows FBGEMM in one thread beats its threaded call; measured with two AVX-512 threads
FEW_ROWS = 6


def pack_for_cpu(decoder: Decoder) -> None:
    """Replace the products in the decoder's layers, which may be fused, and their norms by faster ones, in place.

    Afterwards it cannot be saved or trained. Does nothing where oneDNN or the dtype does not allow it.
    """
    if not _can_pack(decoder):
        return
    pack_products(decoder, _layout)
    with torch.no_grad():
        for layer in decoder.layers:
            if isinstance(layer, Layer):
                _pack_norms(layer)
        if isinstance(decoder.norm, RMSNorm):
            decoder.norm = _packed_norm(decoder.norm)


def pack_products(decoder: Decoder, layout: Layout) -> None:
    """Replace the products in the decoder's layers, and its head, by what `layout` makes of their weights, in place.

    Each weight is freed once it is packed, so memory does not double; only a tied embedding exists twice.
    """
    with torch.no_grad():
        for layer in decoder.layers:
            for name in PRODUCTS:
                setattr(layer, name, _packed(getattr(layer, name), layout))
        decoder.head = layout(decoder.embed.weight.t(), None) if decoder.head is None else _packed(decoder.head, layout)


class HalfLinear(nn.Module):
    """`Linear` in float32 on a weight that FBGEMM keeps as float16; exact where the weight is (see `fits`)."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        rows_out = weight.t().contiguous()
        self.bias = bias
        self.many = _pack_for_many_rows(rows_out, bias)
        self.few = _pack_for_few_rows(rows_out) if weight.numel() <= SMALL else None

    @staticmethod
    def fits(weight: Tensor) -> bool:
        """Whether float16 holds every number of the weight, and this processor has FBGEMM."""
        if weight.dtype != torch.float32 or "fbgemm" not in torch.backends.quantized.supported_engines:
            return False
        return torch.equal(weight.half().float(), weight)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if self.few is not None and (x.shape[0] <= FEW_ROWS or torch.get_num_threads() == 1):
            y = torch.fbgemm_linear_fp16_weight_fp32_activation(x, self.few, self.bias)
        else:
            y = self.many(x)
        return y if residual is None else y.add_(residual)


class _ThreadedProduct(nn.Module):
    """FBGEMM's threaded call. Scripted, since handing its packed operand over from Python costs 8 µs a call."""

    def __init__(self, packed: Any) -> None:
        super().__init__()
        self.packed = packed

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self.packed)
        return y


def _pack_for_many_rows(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    product = _ThreadedProduct(torch.ops.quantized.linear_prepack_fp16(weight, bias))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        forward: Callable[[Tensor], Tensor] = torch.jit.script(product).forward
    return forward


def _pack_for_few_rows(weight: Tensor) -> Tensor | None:
    """The operand of FBGEMM's unthreaded call, whose overhead is a third; None where torch no longer has it."""
    if not hasattr(torch, "fbgemm_linear_fp16_weight_fp32_activation"):
        return None
    with warnings.catch_warnings():
        # torch says once that it may drop these calls one day, which the line above is ready for
        warnings.simplefilter("ignore", UserWarning)
        packed: Tensor = torch.fbgemm_pack_gemm_matrix_fp16(weight)
        torch.fbgemm_linear_fp16_weight_fp32_activation(weight.new_zeros(1, weight.shape[1]), packed, None)
    return packed


class PackedLinear(nn.Module):
    """`Linear` on a weight that oneDNN has laid out once; x [tokens, in] to [tokens, out], float32 or bfloat16."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        # the plain product, for single rows; a transposed view, as of a tied embedding, would be no faster
        self.small = weight if weight.numel() <= SMALL and weight.is_contiguous() else None
        self.bias = bias
        # the row count is a hint that makes no measurable difference here
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.t().contiguous(), 16)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if self.small is not None and x.shape[0] == 1:
            return self._one_row(x, self.small, residual)
        y: Tensor
        if residual is None:
            y = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        else:
            y = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self.packed, self.bias, "add")
        return y

    def _one_row(self, x: Tensor, weight: Tensor, residual: Tensor | None) -> Tensor:
        if residual is None:
            return x @ weight if self.bias is None else torch.addmm(self.bias, x, weight)
        y = torch.addmm(residual, x, weight)
        return y if self.bias is None else y + self.bias


class PackedNorm(nn.Module):
    """`RMSNorm` as x / sqrt(|x|² + n·eps) · (weight·sqrt(n)): fewer and cheaper calls than F.rms_norm on a CPU.

    weight [n], or [heads, n] for heads that are normed together.
    """

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        size = weight.shape[-1]
        self.scale = weight * math.sqrt(size)
        self.floor = torch.tensor(math.sqrt(size * eps), dtype=weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        # hypot(|x|, floor) is the root of the sum of squares, with eps inside as in the definition
        return x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self.floor) * self.scale


def _can_pack(decoder: Decoder) -> bool:
    weight = decoder.embed.weight
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    ops = torch.ops.mkldnn
    if not hasattr(ops, "_linear_pointwise") or not hasattr(ops, "_reorder_linear_weight"):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(ops._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def _pack_norms(layer: Layer) -> None:
    """Fused layers have none to pack: their operations read the weights."""
    layer.attention_norm, layer.mlp_norm = _packed_norm(layer.attention_norm), _packed_norm(layer.mlp_norm)
    if isinstance(layer.q_norm, RMSNorm) and isinstance(layer.k_norm, RMSNorm):
        heads = (layer.q_norm.weight.expand(layer.num_heads, -1), layer.k_norm.weight.expand(layer.num_kv_heads, -1))
        if layer.q_norm.weight.dtype == torch.float32:
            layer.qk_norm = PackedNorm(torch.cat(heads), layer.q_norm.eps)


def _packed(linear: nn.Module, layout: Layout) -> nn.Module:
    if isinstance(linear, (Int8Linear, Int4Linear)):
        return linear
    assert isinstance(linear, Linear)
    return layout(linear.weight.detach(), None if linear.bias is None else linear.bias.detach())


def _layout(weight: Tensor, bias: Tensor | None) -> nn.Module:
    return HalfLinear(weight, bias) if HalfLinear.fits(weight) else PackedLinear(weight, bias)


def _packed_norm(norm: nn.Module) -> nn.Module:
    """bfloat16 keeps F.rms_norm, which sums in float32."""
    assert isinstance(norm, RMSNorm)
    return PackedNorm(norm.weight.detach(), norm.eps) if norm.weight.dtype == torch.float32 else norm
