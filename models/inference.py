"""A decoder made ready to serve: its layers replaced by the fastest ones for where it runs."""

from __future__ import annotations

from torch import Tensor

from models.adapter import gated, storage
from models.decoder import Decoder
from models.packing import pack_for_cpu


def prepare_for_inference(
    decoder: Decoder,
    triton: bool,
    adapter: dict[str, Tensor] | None = None,
    draft_lora: dict[str, tuple[Tensor, Tensor]] | None = None,
) -> None:
    """In place; afterwards it cannot be saved or trained. `triton`: fuse small operations in Triton kernels.

    `adapter`: tensors of a TiDAR adapter to serve it with; `draft_lora`: products for drafting rows alone. Fused layers
    have no place for either, so that Triton then stays with attention and sampling.
    """
    if triton and not adapter and draft_lora is None:
        from models.fusing import fuse_layers

        fuse_layers(decoder)
    elif decoder.embed.weight.device.type == "cpu":
        pack_for_cpu(decoder)
    if adapter:
        storage.apply(decoder, adapter)
    if draft_lora is not None:
        gated.apply_gated(decoder, draft_lora)
