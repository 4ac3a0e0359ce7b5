"""Adapters for the tiny checkpoints: random ones, whose drafts are nonsense and whose exactness must not care."""

from __future__ import annotations

from pathlib import Path

import torch

from models.adapter import storage
from models.adapter.config import AdapterConfig, Base
from models.checkpoint import load_decoder


def save_random_adapter(folder: Path, model: Path, rank: int = 3, draft_length: int = 4) -> Path:
    """An adapter of random numbers, large enough to change what every mask row says."""
    decoder = load_decoder(model, torch.float64)
    generator = torch.Generator().manual_seed(7)
    tensors = {
        name: torch.randn(shape, generator=generator) / 4
        for name, shape in storage.shapes(decoder.config, rank, draft_length)
    }
    config = AdapterConfig(folder, rank, draft_length, Base.of(decoder.config, decoder.embed.weight))
    storage.save(config, tensors, torch.float64)
    return folder
