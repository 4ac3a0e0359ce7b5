"""Where each tensor of a Hugging Face checkpoint lies inside the decoder's fused parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from models.config import ModelConfig

HEAD = "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True)
class Place:
    """One checkpoint tensor: its name and shape there, and the part of a decoder parameter that holds it.

    Matrices lie [out, in] in a checkpoint. In the decoder the linear ones are transposed, and those that read the
    same input stand side by side, so a tensor takes the columns from `start` on.
    """

    name: str
    shape: tuple[int, ...]
    parameter: str
    start: int = 0
    transposed: bool = False

    def view(self, parameter: Tensor) -> Tensor:
        """The part of `parameter` that is this tensor, in the checkpoint's own shape."""
        if self.transposed:
            return parameter[:, self.start : self.start + self.shape[0]].t()
        return parameter[self.start : self.start + self.shape[0]]


def places(config: ModelConfig) -> Iterator[Place]:
    """Every tensor that a checkpoint of this config must hold, layer by layer; lazy, as a config may lie."""
    embedding = (config.vocab_size, config.hidden_size)
    yield Place(EMBEDDING, embedding, "embed.weight")
    for index in range(config.num_layers):
        yield from _layer(config, f"model.layers.{index}.", f"layers.{index}.")
    yield Place("model.norm.weight", (config.hidden_size,), "norm.weight")
    if not config.tie_embeddings:
        yield Place(HEAD, embedding, "head.weight", transposed=True)


def _layer(config: ModelConfig, theirs: str, ours: str) -> Iterator[Place]:
    d, ffn, query, kv = config.hidden_size, config.intermediate_size, config.query_size, config.kv_size
    attention, mlp = f"{theirs}self_attn.", f"{theirs}mlp."
    yield Place(f"{theirs}input_layernorm.weight", (d,), f"{ours}attention_norm.weight")
    yield from _fused(f"{ours}qkv", d, config.qkv_bias, {f"{attention}{n}_proj": s for n, s in _qkv(query, kv)})
    if config.qk_norm:
        yield Place(f"{attention}q_norm.weight", (config.head_dim,), f"{ours}q_norm.weight")
        yield Place(f"{attention}k_norm.weight", (config.head_dim,), f"{ours}k_norm.weight")
    yield from _fused(f"{ours}output", query, config.output_bias, {f"{attention}o_proj": d})
    yield Place(f"{theirs}post_attention_layernorm.weight", (d,), f"{ours}mlp_norm.weight")
    yield from _fused(f"{ours}gate_up", d, config.mlp_bias, {f"{mlp}gate_proj": ffn, f"{mlp}up_proj": ffn})
    yield from _fused(f"{ours}down", ffn, config.mlp_bias, {f"{mlp}down_proj": d})


def _qkv(query: int, kv: int) -> tuple[tuple[str, int], ...]:
    return ("q", query), ("k", kv), ("v", kv)


def _fused(ours: str, inputs: int, bias: bool, parts: dict[str, int]) -> Iterator[Place]:
    """`parts`: checkpoint module to its outputs, in the order in which they stand in `ours`."""
    start = 0
    for theirs, outputs in parts.items():
        yield Place(f"{theirs}.weight", (outputs, inputs), f"{ours}.weight", start, transposed=True)
        if bias:
            yield Place(f"{theirs}.bias", (outputs,), f"{ours}.bias", start)
        start += outputs
