"""EAGLE-3 heads (arXiv 2503.01840): one layer that drafts from three of the target's hidden states."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.decoder import Attention, Layer, RMSNorm
from models.errors import ModelError
from models.fields import flag, section, whole
from models.folder import read_config
from models.linear import Linear

#: names under which heads are published
ARCHITECTURES = ("LlamaForCausalLMEagle3", "Eagle3LlamaForCausalLM", "LlamaForCausalLM")


@dataclass(frozen=True)
class EagleConfig:
    """What a head's config.json says. `layer` has the shape of its one layer; lengths in elements.

    `features` are the target's layers whose inputs (the outputs of the layers before them) are fused, low to high.
    """

    layer: ModelConfig
    draft_vocab_size: int
    target_hidden_size: int
    features: tuple[int, int, int]
    norm_before_residual: bool = False

    @classmethod
    def from_folder(cls, folder: Path, target: ModelConfig) -> EagleConfig:
        """Read `folder`/config.json for a head of `target`. Raises ModelError where it is none, or of another model."""
        raw = read_config(folder)
        names = raw.get("architectures")
        if not isinstance(names, list) or not set(names) & set(ARCHITECTURES) or "draft_vocab_size" not in raw:
            raise ModelError(
                f"{folder} is no EAGLE-3 head: its config.json needs draft_vocab_size and one of the architectures "
                f"{', '.join(ARCHITECTURES)}, but names {names!r}."
            )
        if whole(raw, "num_hidden_layers", 1) != 1:
            raise ModelError("An EAGLE-3 head has one layer; config.json names more under num_hidden_layers.")
        layer = ModelConfig.from_dict({**raw, "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1})
        if layer.vocab_size != target.vocab_size:
            raise ModelError(
                f"The head drafts for a vocabulary of {layer.vocab_size} tokens, but the model has "
                f"{target.vocab_size}: it was trained for another model."
            )
        # positions are the target's; the head's own limit does not matter
        layer = replace(layer, max_position_embeddings=target.max_position_embeddings)
        return cls(
            layer=layer,
            draft_vocab_size=whole(raw, "draft_vocab_size", layer.vocab_size),
            target_hidden_size=whole(raw, "target_hidden_size", layer.hidden_size),
            features=_features(raw, target.num_layers),
            norm_before_residual=flag(raw, "norm_before_residual"),
        )


def _features(raw: dict[str, Any], layers: int) -> tuple[int, int, int]:
    """Layers whose inputs are fused: as config.json says, or the second, the middle and the last but two."""
    given = raw.get(
        "eagle_aux_hidden_state_layer_ids",
        section(raw, "eagle_config").get("eagle_aux_hidden_state_layer_ids", (2, layers // 2, layers - 3)),
    )
    if not isinstance(given, (list, tuple)) or len(given) != 3 or not all(_is_layer(index, layers) for index in given):
        raise ModelError(
            f"eagle_aux_hidden_state_layer_ids must name three of the model's layers 1 to {layers}, not {given!r}."
        )
    low, middle, high = given
    return low, middle, high


def _is_layer(index: Any, layers: int) -> bool:
    return isinstance(index, int) and not isinstance(index, bool) and 1 <= index <= layers


class EagleLayer(Layer):
    """The head's layer: attention reads the next token's embedding beside the feature, both normed."""

    def __init__(self, config: EagleConfig) -> None:
        super().__init__(config.layer, 0)
        size = config.layer.hidden_size
        self.qkv = Linear(2 * size, self.qkv.weight.shape[1], bias=config.layer.qkv_bias)
        self.feature_norm = RMSNorm(size, config.layer.rms_norm_eps)
        self.norm_before_residual = config.norm_before_residual

    def draft(self, embedded: Tensor, feature: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> Tensor:
        """embedded, feature [rows, hidden_size]; returns the same shape, not normed."""
        normed = self.feature_norm(feature)
        residual = normed if self.norm_before_residual else feature
        q, k, v = self._qkv(torch.cat([self.attention_norm(embedded), normed], -1), cos, sin)
        x: Tensor = self.output(attention(0, q, k, v).flatten(-2), residual=residual)
        return self._mlp(x)


class EagleHead(nn.Module):
    """Row p takes the fused feature of position p and the token at p + 1, and drafts the token at p + 2.

    Where the target has not computed position p yet, the head's own output for p - 1 stands in for the feature.
    """

    cos: Tensor
    sin: Tensor
    targets: Tensor

    def __init__(self, config: EagleConfig) -> None:
        super().__init__()
        self.config = config
        size = config.layer.hidden_size
        self.embed = nn.Embedding(config.layer.vocab_size, size)
        self.fuse = Linear(3 * config.target_hidden_size, size)
        self.layer = EagleLayer(config)
        self.norm = RMSNorm(size, config.layer.rms_norm_eps)
        self.head = Linear(size, config.draft_vocab_size)
        tables = (config.layer.max_position_embeddings, 1, config.layer.head_dim)
        self.register_buffer("cos", torch.empty(tables), persistent=False)
        self.register_buffer("sin", torch.empty(tables), persistent=False)
        #: the target's token id of each draft token id, int64 [draft_vocab_size]
        self.register_buffer("targets", torch.arange(config.draft_vocab_size))

    def forward(self, token_ids: Tensor, features: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """token_ids, positions int64 [rows], features [rows, hidden_size]; returns the same shape as features.

        Row p's output is what stands in for the feature of position p + 1; `logits` reads its draft from it.
        """
        cos, sin = self.cos.index_select(0, positions), self.sin.index_select(0, positions)
        return self.layer.draft(self.embed(token_ids), features, cos, sin, attention)

    def fused(self, hidden: Tensor) -> Tensor:
        """The target's hidden states [rows, 3, target_hidden_size] as features [rows, hidden_size]."""
        out: Tensor = self.fuse(hidden.flatten(1))
        return out

    def build_tables(self) -> None:
        """Fill the rotary tables, as Decoder does."""
        self.config.layer.rope.fill_tables(self.cos.squeeze(1), self.sin.squeeze(1))

    def logits(self, features: Tensor) -> Tensor:
        """Scores of the draft vocabulary [rows, draft_vocab_size] from what `forward` returned."""
        out: Tensor = self.head(self.norm(features))
        return out
