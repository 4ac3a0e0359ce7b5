"""Tiny random checkpoints that are denoised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.checkpoint import save_decoder
from models.drafting import DraftConfig
from tests.engine.tiny import MASK, random_decoder, tiny_config


def save_denoiser(
    folder: Path, scheme: str, shift: int = 0, architecture: str = "Qwen3ForCausalLM", mask_token_id: int = MASK
) -> Path:
    config = replace(tiny_config(architecture), draft=DraftConfig(mask_token_id, 4, scheme, shift))
    save_decoder(random_decoder(config), folder, torch.float64, {})
    return folder


@pytest.fixture(scope="session")
def sdar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_denoiser(tmp_path_factory.mktemp("checkpoints") / "sdar", "block")


@pytest.fixture(scope="session")
def efficient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_denoiser(tmp_path_factory.mktemp("checkpoints") / "efficient", "prompt-block")


@pytest.fixture(scope="session")
def llada(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_denoiser(tmp_path_factory.mktemp("checkpoints") / "llada", "denoise")


@pytest.fixture(scope="session")
def dream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_denoiser(tmp_path_factory.mktemp("checkpoints") / "dream", "denoise", 1, "Qwen2ForCausalLM")
