"""An adapter on a decoder: made, applied, written to a folder and read back, without trusting what the folder says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.adapter.config import CONFIG, AdapterConfig, Base
from models.adapter.layers import AdaptedLinear, MaskEmbedding, MaskRows
from models.config import ModelConfig
from models.decoder import Decoder
from models.errors import ModelError
from models.shards import SINGLE, Shards

#: the linear layers of `models.decoder.Layer`
LINEARS = ("qkv", "output", "gate_up", "down")
MASK = "mask"


def shapes(config: ModelConfig, rank: int, draft_length: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name and shape of every tensor of an adapter for such a model; lazy, as a config may lie."""
    d, ffn = config.hidden_size, config.intermediate_size
    qkv = config.query_size + 2 * config.kv_size
    sizes = {"qkv": (d, qkv), "output": (config.query_size, d), "gate_up": (d, 2 * ffn), "down": (ffn, d)}
    yield MASK, (draft_length, d)
    for index in range(config.num_layers):
        for linear, (inputs, outputs) in sizes.items():
            yield f"layers.{index}.{linear}.down", (inputs, rank)
            yield f"layers.{index}.{linear}.up", (rank, outputs)


def fresh(decoder: Decoder, rank: int, draft_length: int, seed: int = 0) -> dict[str, Tensor]:
    """An untrained adapter, float32: the mask is the mean embedding, and LoRA changes nothing yet."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes(decoder.config, rank, draft_length):
        tensors[name] = torch.zeros(shape)
        if name.endswith(".down"):
            nn.init.normal_(tensors[name], std=shape[0] ** -0.5, generator=generator)
    tensors[MASK] += decoder.embed.weight.detach().float().mean(0).cpu()
    return tensors


def apply(decoder: Decoder, tensors: dict[str, Tensor]) -> None:
    """Wrap the decoder's embedding and linear layers, packed or not, in place. Tensors go to its device and dtype."""
    weight = decoder.embed.weight
    placed = {name: tensor.to(weight.device, weight.dtype) for name, tensor in tensors.items()}
    masks = MaskRows()
    decoder.embed = MaskEmbedding(decoder.embed, placed[MASK], masks)
    for index, layer in enumerate(decoder.layers):
        for linear in LINEARS:
            name = f"layers.{index}.{linear}"
            wrapped = AdaptedLinear(getattr(layer, linear), placed[f"{name}.down"], placed[f"{name}.up"], masks)
            setattr(layer, linear, wrapped)


def parameters(decoder: Decoder) -> dict[str, nn.Parameter]:
    """The adapter's own parameters on a decoder that has one, under the names of its file."""
    assert isinstance(decoder.embed, MaskEmbedding)
    found = {MASK: decoder.embed.vectors}
    for index, layer in enumerate(decoder.layers):
        for linear in LINEARS:
            adapted = getattr(layer, linear)
            found |= {f"layers.{index}.{linear}.down": adapted.down, f"layers.{index}.{linear}.up": adapted.up}
    return found


def read_tensors(config: AdapterConfig, decoder: Decoder) -> dict[str, Tensor]:
    """The tensors of the adapter that `config` was read from, for a decoder still as its checkpoint made it.

    Raises ModelError where the adapter belongs to another model, or its file does not hold what its config says.
    """
    folder = config.folder
    config.base.check(Base.of(decoder.config, decoder.embed.weight), folder)
    tensors = {}
    with Shards(folder) as shards:
        for name, shape in shapes(decoder.config, config.rank, config.draft_length):
            if shards.shape(name) != shape:
                raise ModelError(
                    f"Tensor {name} of the adapter in {folder} has shape {list(shards.shape(name))}, but its "
                    f"{CONFIG} makes it {list(shape)}."
                )
            tensors[name] = shards.tensor(name)
            if not torch.isfinite(tensors[name]).all():
                raise ModelError(f"Tensor {name} of the adapter in {folder} is not finite: fetch the adapter again.")
        if unknown := sorted(shards.names() - set(tensors)):
            raise ModelError(f"The adapter in {folder} holds {unknown[0]}, which no TiDAR adapter has.")
    return tensors


def save(config: AdapterConfig, tensors: dict[str, Tensor], dtype: torch.dtype = torch.float16) -> None:
    """Write adapter.json and model.safetensors into the config's folder, each replaced whole."""
    folder = config.folder
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{SINGLE}.partial"
    ready = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in tensors.items()}
    save_file(ready, partial, metadata={"format": "pt"})
    os.replace(partial, folder / SINGLE)
    partial = folder / f"{CONFIG}.partial"
    partial.write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    os.replace(partial, folder / CONFIG)
