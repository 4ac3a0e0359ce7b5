"""A decoder made ready to serve: its layers replaced by the fastest ones for where it runs."""

from __future__ import annotations

from models.decoder import Decoder
from models.packing import pack_for_cpu


def prepare_for_inference(decoder: Decoder, triton: bool) -> None:
    """In place; afterwards it cannot be saved or trained. `triton`: fuse small operations in Triton kernels."""
    if triton:
        from models.fusing import fuse_layers

        fuse_layers(decoder)
    elif decoder.embed.weight.device.type == "cpu":
        pack_for_cpu(decoder)
