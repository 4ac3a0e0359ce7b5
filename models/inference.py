"""A decoder made ready to serve: its layers replaced by the fastest ones for where it runs."""

from __future__ import annotations

from enum import Enum

from torch import Tensor

from models.adapter import gated, storage
from models.decoder import Decoder
from models.fusing import LayerOperations, fuse_layers
from models.native.layer_operations import NativeOperations
from models.packing import pack_for_cpu, pack_products


class Kernels(Enum):
    """Who computes what lies between a model's products: torch alone, Triton on a GPU, or C on a CPU."""

    TORCH = "torch"
    TRITON = "triton"
    NATIVE = "native"


def prepare_for_inference(
    decoder: Decoder,
    kernels: Kernels,
    adapter: dict[str, Tensor] | None = None,
    draft_lora: dict[str, tuple[Tensor, Tensor]] | None = None,
) -> None:
    """In place; afterwards it cannot be saved or trained. `kernels`: who computes its small operations.

    `adapter`: tensors of a TiDAR adapter to serve it with; `draft_lora`: products for drafting rows alone.
    """
    operations = _operations(decoder, kernels)
    if operations is not None:
        fuse_layers(decoder, operations)
    if isinstance(operations, NativeOperations):
        pack_products(decoder, operations.linear)
    elif decoder.embed.weight.device.type == "cpu":
        pack_for_cpu(decoder)
    if adapter:
        storage.apply(decoder, adapter)
    if draft_lora is not None:
        gated.apply_gated(decoder, draft_lora)


def _operations(decoder: Decoder, kernels: Kernels) -> LayerOperations | None:
    """None where layers stay torch's. Triton is imported only here."""
    if kernels is Kernels.NATIVE:
        return NativeOperations.make(decoder.embed.weight.dtype)
    if kernels is Kernels.TORCH:
        return None
    from models.kernels.layer_operations import TritonOperations

    return TritonOperations()
