"""Tiny checkpoints, made once per test session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.engine.tiny import save_learned, save_random


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """These models are so small that a second thread only waits."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 that counts, whose drafts are often right."""
    return save_learned(tmp_path_factory.mktemp("checkpoints") / "learned")


@pytest.fixture(scope="session")
def random_qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random(tmp_path_factory.mktemp("checkpoints") / "qwen3")


@pytest.fixture(scope="session")
def random_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random(tmp_path_factory.mktemp("checkpoints") / "llama", "LlamaForCausalLM")


@pytest.fixture(scope="session")
def without_drafts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain AR checkpoint: no `tidar` section."""
    return save_random(tmp_path_factory.mktemp("checkpoints") / "plain", drafts=False)
