"""A decoder and a data folder small enough to train inside a test."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.decoder import Decoder
from models.training.data import TOKENIZER_FILES
from models.training.schedule import Budget, Schedule
from models.training.settings import ModelShape, TrainConfig

SHIPPED = Path(__file__).parents[3] / "models" / "shipped" / "tidar-python-5m"
MASK, EOS = 1, (0, 3)

SHAPE = ModelShape(
    vocab_size=1024,
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    context_length=64,
)


def tiny_decoder(seed: int = 0, dtype: torch.dtype = torch.float64) -> Decoder:
    """Random weights, large enough that every row says something else."""
    decoder = Decoder(SHAPE.config(EOS, MASK, 4))
    generator = torch.Generator().manual_seed(seed)
    for parameter in decoder.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.2, generator=generator)
    decoder = decoder.to(dtype)
    decoder.build_tables()
    return decoder


def data_folder(folder: Path, train: np.ndarray, held_out: np.ndarray) -> Path:
    """Token files with the given ids, behind the shipped tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(SHIPPED / name, folder / name)
    train.astype(np.uint16).tofile(folder / "train.bin")
    held_out.astype(np.uint16).tofile(folder / "held_out.bin")
    return folder


def random_data(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    return data_folder(folder, rng.integers(4, 1024, 4000), rng.integers(4, 1024, 10_000))


def tiny_run(data: Path, output: Path, tokens: int, **fields: Any) -> TrainConfig:
    """Float32 on the CPU, 64 tokens a step, logged at every step."""
    common: dict[str, Any] = {
        "budget": Budget(tokens=tokens),
        "schedule": Schedule(warmup_steps=2),
        "shape": SHAPE,
        "batch_tokens": 64,
        "length": 32,
        "long_length": 64,
        "device": "cpu",
        "dtype": "float32",
        "log_every": 1,
    }
    return TrainConfig(data=data, output=output, **{**common, **fields})
