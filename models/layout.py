"""Where each tensor of a Hugging Face checkpoint lies inside the decoder's fused parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from models.config import ModelConfig


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
    names, embedding = config.names, (config.vocab_size, config.hidden_size)
    yield Place(names.embedding, embedding, "embed.weight")
    for index in range(config.num_layers):
        yield from _layer(config, names.layer.format(index), f"layers.{index}.")
    yield Place(names.norm, (config.hidden_size,), "norm.weight")
    if not config.tie_embeddings:
        yield Place(names.head, embedding, "head.weight", transposed=True)


def _layer(config: ModelConfig, theirs: str, ours: str) -> Iterator[Place]:
    names, d, ffn = config.names, config.hidden_size, config.intermediate_size
    qkv = {names.q: config.query_size, names.k: config.kv_size, names.v: config.kv_size}
    yield Place(f"{theirs}{names.attention_norm}.weight", (d,), f"{ours}attention_norm.weight")
    yield from _fused(theirs, f"{ours}qkv", d, config.qkv_bias, qkv)
    if config.qk_norm:
        yield Place(f"{theirs}{names.q_norm}.weight", (config.head_dim,), f"{ours}q_norm.weight")
        yield Place(f"{theirs}{names.k_norm}.weight", (config.head_dim,), f"{ours}k_norm.weight")
    yield from _fused(theirs, f"{ours}output", config.query_size, config.output_bias, {names.output: d})
    yield Place(f"{theirs}{names.mlp_norm}.weight", (d,), f"{ours}mlp_norm.weight")
    yield from _fused(theirs, f"{ours}gate_up", d, config.mlp_bias, {names.gate: ffn, names.up: ffn})
    yield from _fused(theirs, f"{ours}down", ffn, config.mlp_bias, {names.down: d})


def _fused(layer: str, ours: str, inputs: int, bias: bool, parts: dict[str, int]) -> Iterator[Place]:
    """`parts`: checkpoint module of the layer to its outputs, in the order in which they stand in `ours`."""
    start = 0
    for name, outputs in parts.items():
        theirs = f"{layer}{name}"
        yield Place(f"{theirs}.weight", (outputs, inputs), f"{ours}.weight", start, transposed=True)
        if bias:
            yield Place(f"{theirs}.bias", (outputs,), f"{ours}.bias", start)
        start += outputs
