"""Loading a decoder from a checkpoint folder, and writing one that transformers reads too."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from models.config import ModelConfig
from models.decoder import Decoder
from models.errors import ModelError
from models.families import Names
from models.joining import drop_added_biases
from models.layout import Place, places
from models.lora import LowRank, read_lora
from models.progress import loading_bar
from models.shards import SINGLE
from models.share import WHOLE, Share
from models.weights import Weights, open_weights

#: tensors that some exporters write and that follow from the config
DERIVED = re.compile(r"rotary_emb\.(inv_freq|cos_cached|sin_cached)$")


def load_decoder(
    path: Path,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    lora: Path | None = None,
    share: Share = WHOLE,
) -> Decoder:
    """Build the decoder that folder or GGUF file `path` describes and fill it from its weights.

    Tensors are read in pieces into their final place, so memory peaks near the size of the result. `lora` is a PEFT
    folder whose products are added to the weights on the way. Of a decoder that several processes share, only this
    one's part is allocated and copied. The decoder comes in eval mode and without gradients.
    Raises ModelError, before anything large is allocated, where the weights do not fit the config.
    """
    config = ModelConfig.from_folder(path)
    with open_weights(path, config) as weights:
        plan = _plan(config, weights)
        products = {} if lora is None else read_lora(lora, plan)
        decoder = _allocate(share.config(config), dtype, device)
        parameters = dict(decoder.named_parameters())
        parts = share.parts(config)
        total = sum(parameter.numel() * parameter.element_size() for parameter in parameters.values())
        with loading_bar(total) as advance:
            for place in plan:
                part = parts.get(place.name)
                if part is not None:
                    cut = share.cut(place.shape, part.shape)
                    for start, piece in _pieces(weights, place.name, cut, products.get(place.name)):
                        _fill(part, start, piece, parameters[part.parameter])
                        advance(piece.numel() * dtype.itemsize)
    if share.rank:
        drop_added_biases(decoder)
    return decoder


def save_decoder(
    decoder: Decoder, folder: Path, dtype: torch.dtype, config_extra: dict[str, Any] | None = None
) -> None:
    """Write config.json and model.safetensors under Hugging Face names, weights as `dtype`.

    `config_extra` is laid over config.json. Each file is replaced whole, so a reader never sees half of one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = dict(decoder.named_parameters())
    tensors = {
        place.name: place.view(parameters[place.parameter].detach()).to("cpu", dtype).contiguous().clone()
        for place in places(decoder.config)
    }
    raw = {**decoder.config.to_dict(), "dtype": str(dtype).removeprefix("torch."), **(config_extra or {})}
    partial = folder / f"{SINGLE}.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    os.replace(partial, folder / SINGLE)
    partial = folder / "config.json.partial"
    partial.write_text(json.dumps(raw, indent=2) + "\n")
    os.replace(partial, folder / "config.json")


def _plan(config: ModelConfig, weights: Weights) -> list[Place]:
    """Every tensor's place, with its declared shape checked against the config."""
    plan = []
    for place in places(config):
        shape = weights.shape(place.name)
        if shape != place.shape:
            raise ModelError(
                f"Tensor {place.name} has shape {list(shape)} in the weights, but config.json makes it "
                f"{list(place.shape)}."
            )
        plan.append(place)
    others = weights.names() - {place.name for place in plan}
    unknown = sorted(n for n in others if not DERIVED.search(n) and not n.startswith(config.names.ignored))
    if config.tie_embeddings and config.names.head in unknown:
        _check_tied(config.names, weights)
        unknown.remove(config.names.head)
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ModelError(f"The weights hold {unknown[0]}{more}, which {config.architecture} does not have.")
    return plan


def _check_tied(names: Names, weights: Weights) -> None:
    """A tied checkpoint may repeat its embedding as the head, but not hold another one."""
    head, embedding = names.head, names.embedding
    if weights.shape(head) != weights.shape(embedding) or not torch.equal(
        weights.tensor(head), weights.tensor(embedding)
    ):
        raise ModelError(
            f"config.json ties the embeddings, but {head} differs from {embedding}: "
            f"set tie_word_embeddings to false to use both."
        )


def _pieces(weights: Weights, name: str, cut: tuple[slice, ...], added: LowRank | None) -> Iterator[tuple[int, Tensor]]:
    """What a tensor holds inside `cut`, by runs of rows, each with the number of its first there."""
    wanted, *columns = cut
    for start, rows in weights.pieces(name):
        first, last = max(start, wanted.start), min(start + len(rows), wanted.stop)
        if first < last:
            piece = rows[first - start : last - start]
            if added is not None:
                piece = piece.float() + added.rows(first, last - first)
            yield first - wanted.start, piece[(slice(None), *columns)]


class _Unfilled(TorchFunctionMode):
    """Makes parameters without torch's meta operators in Python: they import its compiler and sympy, which takes longer
    than all the rest of an engine's start."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is nn.init.normal_:
            return kwargs["tensor"]
        if func is torch.empty_like:
            return torch.empty(args[0].shape, dtype=args[0].dtype, **kwargs)
        return func(*args, **kwargs)


def _allocate(config: ModelConfig, dtype: torch.dtype, device: torch.device | str) -> Decoder:
    """A decoder with uninitialised parameters and exact rotary tables, shaped on meta so nothing is filled twice."""
    with torch.device("meta"), _Unfilled():
        decoder = Decoder(config)
    with _Unfilled():
        decoder = decoder.to(dtype).requires_grad_(False).to_empty(device=device)
    decoder.build_tables()
    return decoder.eval()


def _fill(place: Place, start: int, rows: Tensor, parameter: Tensor) -> None:
    # converted before it is transposed: a strided copy of one dtype is several times faster than one of two
    place.view(parameter)[start : start + len(rows)].copy_(rows.to(parameter.device, parameter.dtype))
