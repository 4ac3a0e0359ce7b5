"""Linear layers on 8- or 4-bit weights, through torch's own kernels; activations stay in 16 bits.

int8 keeps one scale per output; int4 a scale and an offset per 32 inputs, with the head, which chooses tokens,
in int8. The kernels multiply bfloat16 rows: on a CPU every row gets the same bits with however many rows it is
computed (tests/models/test_quantization.py), on a GPU that is not measured. Embedding and norms stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from models.decoder import Decoder, Layer
from models.errors import ModelError
from models.linear import Linear

Quantization = Literal["none", "int8", "int4"]

#: inputs that share a scale in 4 bits; the fewest that the kernels know, as the blocks of a GGUF have
GROUP = 32
#: outputs of a 4-bit layer come in multiples of this
OUTPUTS = 16
#: rows of a weight that are quantised at once, so that its float32 copy stays small
ROWS = 4096
#: what the GPU's 4-bit kernel counts inputs in; it packs 2, 4 or 8 of these together
TILE = 16


def quantize_weights(decoder: Decoder, kind: Quantization) -> None:
    """Replace the decoder's linear layers in place, freeing each weight; afterwards it cannot be saved or trained.

    Raises ModelError where a layer's size does not suit the kernels.
    """
    if kind == "none":
        return
    with torch.no_grad():
        for layer in decoder.layers:
            assert isinstance(layer, Layer)
            for name in ("qkv", "output", "gate_up", "down"):
                linear = getattr(layer, name)
                assert isinstance(linear, Linear)
                setattr(layer, name, _layout(kind, linear.weight.detach(), linear.bias))
        head = decoder.embed.weight.t() if decoder.head is None else decoder.head.weight
        assert isinstance(head, Tensor)
        decoder.head = Int8Linear(head.detach())


def weight_bytes(decoder: Decoder) -> int:
    """What the weights take, quantised or not."""
    quantized = [module for module in decoder.modules() if isinstance(module, (Int8Linear, Int4Linear))]
    tensors = [*decoder.parameters(), *(buffer for module in quantized for buffer in module.buffers())]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Int8Linear(nn.Module):
    """`Linear` on int8 weights [out, in] with a scale per output; x in any float dtype, multiplied in bfloat16."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """`weight` [in, out], as in `Linear`."""
        super().__init__()
        parts = [_to_int8(rows.float()) for rows in weight.t().split(ROWS)]
        self.register_buffer("weight", torch.cat([part[0] for part in parts]))
        self.register_buffer("scale", torch.cat([part[1] for part in parts]))
        self.register_buffer("bias", None if bias is None else bias.detach())

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        y = torch._weight_int8pack_mm(x.to(torch.bfloat16), self.weight, self.scale)
        return _finished(y.to(x.dtype), self.bias, residual)


class Int4Linear(nn.Module):
    """`Linear` on 4-bit weights in groups along the inputs; x in any float dtype, multiplied in bfloat16."""

    packed: Tensor
    scales: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """`weight` [in, out], as in `Linear`. Raises ModelError where its sizes do not suit the kernel."""
        super().__init__()
        inputs, outputs = weight.shape
        if inputs % GROUP or outputs % OUTPUTS:
            raise ModelError(
                f"A layer of {inputs} inputs and {outputs} outputs cannot be kept in 4 bits, which takes multiples of "
                f"{GROUP} and {OUTPUTS}: use --quantization int8."
            )
        parts = [_to_int4(rows.float()) for rows in weight.t().split(ROWS)]
        numbers, scales = (torch.cat([part[index] for part in parts]) for index in (0, 1))
        self.register_buffer("packed", _packed(numbers))
        self.register_buffer("scales", scales.transpose(0, 1).contiguous())
        self.register_buffer("bias", None if bias is None else bias.detach())
        self._product = _int4_product(weight.device.type)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        y = self._product(x.to(torch.bfloat16), self.packed, GROUP, self.scales)
        return _finished(y.to(x.dtype), self.bias, residual)


def _layout(kind: Quantization, weight: Tensor, bias: Tensor | None) -> nn.Module:
    return Int8Linear(weight, bias) if kind == "int8" else Int4Linear(weight, bias)


def _finished(y: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
    if bias is not None:
        y = y + bias
    return y if residual is None else y + residual


def _to_int8(rows: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [out, in] and bfloat16 scales [out] of float32 rows; the numbers are rounded for the rounded scales."""
    scale = (rows.abs().amax(1) / 127).clamp_min(1e-12).bfloat16()
    return torch.round(rows / scale.float()[:, None]).clamp(-127, 127).to(torch.int8), scale


def _to_int4(rows: Tensor) -> tuple[Tensor, Tensor]:
    """int32 [out, in] from 0 to 15, and bfloat16 [out, groups, 2]: a weight is (number - 8) · first + second."""
    grouped = rows.unflatten(1, (-1, GROUP))
    low, high = grouped.amin(2), grouped.amax(2)
    scale = ((high - low) / 15).clamp_min(1e-12).bfloat16()
    offset = (low + 8 * scale.float()).bfloat16()
    numbers = torch.round((grouped - offset.float()[..., None]) / scale.float()[..., None] + 8)
    return numbers.clamp(0, 15).to(torch.int32).flatten(1), torch.stack([scale, offset], -1)


def _packed(numbers: Tensor) -> Tensor:
    inner_tiles = next(tiles for tiles in (8, 4, 2) if numbers.shape[1] % (tiles * TILE) == 0)
    ops = torch.ops.aten
    if numbers.device.type == "cpu":
        packed: Tensor = ops._convert_weight_to_int4pack_for_cpu(numbers, inner_tiles)
        return packed
    pairs = (numbers[:, ::2] << 4 | numbers[:, 1::2]).to(torch.uint8)
    return torch._convert_weight_to_int4pack(pairs.contiguous(), inner_tiles)


def _int4_product(device: str) -> Callable[[Tensor, Tensor, int, Tensor], Tensor]:
    if device == "cpu":
        product: Callable[[Tensor, Tensor, int, Tensor], Tensor] = torch.ops.aten._weight_int4pack_mm_for_cpu
        return product
    return torch._weight_int4pack_mm
