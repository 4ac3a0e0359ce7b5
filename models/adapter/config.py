"""What an adapter's adapter.json says: its sizes, and the base model it was trained on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.config import ModelConfig
from models.drafting import DraftConfig
from models.errors import ModelError
from models.fields import section, whole
from models.folder import read_object

CONFIG = "adapter.json"
KIND = "tidar-adapter"
MAX_RANK, MAX_DRAFT_LENGTH = 1024, 64
#: embedding rows whose size tells one base model from another, and how far a quantised copy may be off
PROBED_ROWS, TOLERANCE = 16, 0.05

#: sizes that adapter and base must share
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "query_size", "kv_size")


@dataclass(frozen=True)
class Base:
    """The model an adapter belongs to: its sizes, and the root mean squares of some rows of its embedding.

    Not a hash, since the same model comes in several precisions. An adapter on a base that it does not know would
    only draft badly, never change an answer.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    query_size: int
    kv_size: int
    embedding: tuple[float, ...]

    @classmethod
    def of(cls, config: ModelConfig, embedding: Tensor) -> Base:
        """The one whose embedding is [vocab_size, hidden_size]."""
        rows = torch.linspace(0, config.vocab_size - 1, PROBED_ROWS, device=embedding.device).long()
        sizes = embedding.detach()[rows].double().square().mean(1).sqrt()
        known = {name: getattr(config, name) for name in SIZES}
        return cls(**known, embedding=tuple(round(size, 6) for size in sizes.tolist()))

    def check(self, base: Base, folder: Path) -> None:
        """Refuse `base` where this adapter was not trained on it. Raises ModelError."""
        for name in SIZES:
            if getattr(self, name) != getattr(base, name):
                raise ModelError(
                    f"The adapter in {folder} is for a model with {name} {getattr(self, name)}, and this one has "
                    f"{getattr(base, name)}: serve it with the model it was trained on."
                )
        for mine, given in zip(self.embedding, base.embedding, strict=True):
            if abs(mine - given) > TOLERANCE * max(mine, given):
                raise ModelError(
                    f"The adapter in {folder} was trained on another model of the same sizes (their embeddings "
                    f"differ): serve it with its own."
                )


@dataclass(frozen=True)
class AdapterConfig:
    """Sizes of the adapter in `folder`; lengths in tokens. `draft_length` is the k it was trained for."""

    folder: Path
    rank: int
    draft_length: int
    base: Base

    @classmethod
    def read(cls, folder: Path) -> AdapterConfig:
        """Parse `folder`/adapter.json. Raises ModelError where it is missing, or says what no adapter can be."""
        raw = read_object(folder / CONFIG) if folder.is_dir() else None
        if raw is None:
            raise ModelError(f"{folder} holds no {CONFIG}, so it is not a TiDAR adapter.")
        if raw.get("kind") != KIND:
            raise ModelError(f"{folder / CONFIG} is of kind {raw.get('kind')!r}, not {KIND!r}.")
        config = cls(folder, whole(raw, "rank"), whole(raw, "draft_length"), _base(section(raw, "base"), folder))
        if config.rank > MAX_RANK:
            raise ModelError(f"{folder / CONFIG} asks for rank {config.rank}; at most {MAX_RANK} is supported.")
        if not 2 <= config.draft_length <= MAX_DRAFT_LENGTH:
            raise ModelError(
                f"{folder / CONFIG} has draft_length {config.draft_length}; it must lie between 2 and "
                f"{MAX_DRAFT_LENGTH}."
            )
        return config

    def to_dict(self) -> dict[str, Any]:
        return {"kind": KIND, "rank": self.rank, "draft_length": self.draft_length, "base": asdict(self.base)}

    def drafting(self, model: ModelConfig) -> ModelConfig:
        """`model` with drafts: the ids of masks lie behind its vocabulary, so that no token is taken from it.

        Raises ModelError where it drafts by itself.
        """
        if model.draft is not None:
            raise ModelError(
                f"The model drafts by itself (scheme {model.draft.scheme!r}), so it takes no adapter: "
                f"leave out --adapter."
            )
        return replace(model, draft=DraftConfig(model.vocab_size, self.draft_length, scheme="adapter"))


def _base(raw: dict[str, Any], folder: Path) -> Base:
    embedding = raw.get("embedding")
    if (
        not isinstance(embedding, list)
        or len(embedding) != PROBED_ROWS
        or not all(isinstance(size, float) and math.isfinite(size) for size in embedding)
    ):
        raise ModelError(f"{folder / CONFIG} needs base.embedding, a list of {PROBED_ROWS} floats.")
    return Base(**{name: whole(raw, name) for name in SIZES}, embedding=tuple(embedding))
