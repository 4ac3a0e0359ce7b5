"""Which slice of every weight one of several processes has.

Queries, keys, values, gate and up are split by their outputs, so that each rank has whole heads and whole neurons;
output and down are split by their inputs, so that what the ranks compute adds up to the whole (arXiv 1909.08053).
Embedding and norms are on every rank, the head is on rank 0 alone: one rank chooses tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.config import ModelConfig
from models.errors import ModelError
from models.layout import Place, places


@dataclass(frozen=True)
class Share:
    """The part of a decoder that rank `rank` of `size` has."""

    rank: int
    size: int

    def config(self, whole: ModelConfig) -> ModelConfig:
        """The decoder of this rank. With more ranks than KV heads, several have the same KV head.

        Raises ModelError where heads or neurons cannot be divided.
        """
        heads, kv_heads = whole.num_heads, whole.num_kv_heads
        if heads % self.size or whole.intermediate_size % self.size or (kv_heads % self.size and self.size % kv_heads):
            raise ModelError(
                f"The model's {heads} query heads, {kv_heads} KV heads and {whole.intermediate_size} neurons cannot be "
                f"divided among {self.size} processes; choose another --tensor-parallel-size."
            )
        return replace(
            whole,
            num_heads=heads // self.size,
            num_kv_heads=max(1, kv_heads // self.size),
            intermediate_size=whole.intermediate_size // self.size,
            # without a head of its own in the checkpoint, a decoder has none to load
            tie_embeddings=whole.tie_embeddings or self.rank > 0,
        )

    def parts(self, whole: ModelConfig) -> dict[str, Place]:
        """Where the checkpoint's tensors lie in this rank's decoder, by name; those it has no use for are left out."""
        return {place.name: place for place in places(self.config(whole))}

    def cut(self, whole: tuple[int, ...], part: tuple[int, ...]) -> tuple[slice, ...]:
        """The slice of a tensor of shape `whole` that fills this rank's `part` of it."""
        cuts = []
        for length, mine in zip(whole, part, strict=True):
            # rounded down to whole parts, which puts ranks that share a KV head at the same place
            start = self.rank * length // self.size // mine * mine if mine < length else 0
            cuts.append(slice(start, start + mine))
        return tuple(cuts)


#: all of a decoder
WHOLE = Share(0, 1)
