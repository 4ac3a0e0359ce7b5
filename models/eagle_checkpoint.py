"""Loading an EAGLE-3 head from the folder it is published in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from models.config import ModelConfig
from models.decoder import Decoder
from models.eagle import EagleConfig, EagleHead
from models.errors import ModelError
from models.layout import Place
from models.shards import Shards

#: the one layer's prefix: as first published, and in the later converted form
PREFIXES = ("midlayer.", "layers.0.")
EMBEDDING = "embed_tokens.weight"
#: draft token to target token, as a difference; which target tokens have one (follows from the former)
DRAFT_TO_TARGET, TARGET_TO_DRAFT = "d2t", "t2d"


def load_eagle(folder: Path, target: Decoder) -> EagleHead:
    """The head in `folder` for this target, in its dtype and on its device; without its own embedding it reads the
    target's. Raises ModelError, one sentence, where the weights do not fit."""
    config = EagleConfig.from_folder(folder, target.config)
    if config.target_hidden_size != target.config.hidden_size:
        raise ModelError(
            f"The head fuses hidden states of {config.target_hidden_size} elements, but the model has "
            f"{target.config.hidden_size}: it was trained for another model."
        )
    with Shards(folder) as shards:
        plan = _plan(config, shards)
        weight = target.embed.weight
        with torch.device("meta"):
            head = EagleHead(config)
        if EMBEDDING not in shards.names():
            _borrow_embedding(head, target)
        head = head.to(weight.dtype).requires_grad_(False).to_empty(device=weight.device)
        if EMBEDDING not in shards.names():
            head.embed = target.embed
        parameters = dict(head.named_parameters())
        for place in plan:
            tensor = shards.tensor(place.name)
            place.view(parameters[place.parameter]).copy_(tensor.to(weight.device, weight.dtype))
        head.targets = _targets(config, shards).to(weight.device)
    head.build_tables()
    return head.eval()


def _borrow_embedding(head: EagleHead, target: Decoder) -> None:
    if head.config.layer.hidden_size != target.config.hidden_size:
        raise ModelError(
            f"The head holds no {EMBEDDING}, and its hidden size {head.config.layer.hidden_size} differs from the "
            f"model's {target.config.hidden_size}, so it cannot use the model's."
        )
    # nothing to allocate for it
    head.embed = torch.nn.Embedding(1, 1, device="meta")


def _plan(config: EagleConfig, shards: Shards) -> list[Place]:
    prefix = next((p for p in PREFIXES if f"{p}hidden_norm.weight" in shards.names()), PREFIXES[0])
    plan = list(_places(config, prefix))
    if EMBEDDING in shards.names():
        plan.append(Place(EMBEDDING, (config.layer.vocab_size, config.layer.hidden_size), "embed.weight"))
    for place in plan:
        if shards.shape(place.name) != place.shape:
            raise ModelError(
                f"Tensor {place.name} has shape {list(shards.shape(place.name))} in the head's weights, but its "
                f"config.json makes it {list(place.shape)}."
            )
    unknown = sorted(shards.names() - {place.name for place in plan} - {DRAFT_TO_TARGET, TARGET_TO_DRAFT})
    if unknown:
        raise ModelError(f"The head's weights hold {unknown[0]}, which an EAGLE-3 head does not have.")
    return plan


def _places(config: EagleConfig, prefix: str) -> Iterator[Place]:
    layer = config.layer
    d, ffn, kv = layer.hidden_size, layer.intermediate_size, layer.kv_size
    yield Place("fc.weight", (d, 3 * config.target_hidden_size), "fuse.weight", transposed=True)
    yield Place(f"{prefix}input_layernorm.weight", (d,), "layer.attention_norm.weight")
    yield Place(f"{prefix}hidden_norm.weight", (d,), "layer.feature_norm.weight")
    yield Place(f"{prefix}post_attention_layernorm.weight", (d,), "layer.mlp_norm.weight")
    yield from _linear(prefix + "self_attn.", {"q": layer.query_size, "k": kv, "v": kv}, 2 * d, "layer.qkv", layer)
    yield from _linear(prefix + "self_attn.", {"o": d}, layer.query_size, "layer.output", layer)
    yield from _linear(prefix + "mlp.", {"gate": ffn, "up": ffn}, d, "layer.gate_up", layer)
    yield from _linear(prefix + "mlp.", {"down": d}, ffn, "layer.down", layer)
    yield Place("norm.weight", (d,), "norm.weight")
    yield Place("lm_head.weight", (config.draft_vocab_size, d), "head.weight", transposed=True)


def _linear(theirs: str, parts: dict[str, int], inputs: int, ours: str, layer: ModelConfig) -> Iterator[Place]:
    """`parts`: projection to its outputs, in the order in which they stand in `ours`."""
    biased = {"layer.qkv": layer.qkv_bias, "layer.output": layer.output_bias}.get(ours, layer.mlp_bias)
    start = 0
    for name, outputs in parts.items():
        yield Place(f"{theirs}{name}_proj.weight", (outputs, inputs), f"{ours}.weight", start, transposed=True)
        if biased:
            yield Place(f"{theirs}{name}_proj.bias", (outputs,), f"{ours}.bias", start)
        start += outputs


def _targets(config: EagleConfig, shards: Shards) -> Tensor:
    """Target token of each draft token, int64 [draft_vocab_size]."""
    own = torch.arange(config.draft_vocab_size)
    if DRAFT_TO_TARGET not in shards.names():
        if config.draft_vocab_size != config.layer.vocab_size:
            raise ModelError(f"The head drafts from a smaller vocabulary but holds no {DRAFT_TO_TARGET} to map it.")
        return own
    offsets = shards.tensor(DRAFT_TO_TARGET)
    if offsets.dtype not in (torch.int32, torch.int64) or tuple(offsets.shape) != (config.draft_vocab_size,):
        raise ModelError(f"{DRAFT_TO_TARGET} must hold one whole number for each of {config.draft_vocab_size} drafts.")
    targets = own + offsets.long()
    if bool(((targets < 0) | (targets >= config.layer.vocab_size)).any()):
        raise ModelError(f"{DRAFT_TO_TARGET} names tokens outside the vocabulary of {config.layer.vocab_size}.")
    return targets
