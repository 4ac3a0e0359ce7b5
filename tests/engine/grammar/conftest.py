"""Tiny checkpoints with a tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.grammar.tiny_tokens import with_tokenizer


@pytest.fixture(scope="session")
def speller(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spells the alphabet; its drafts are often right."""
    return with_tokenizer(learned, tmp_path_factory.mktemp("speller") / "model")


@pytest.fixture(scope="session")
def babbler(random_qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights; its drafts are mostly wrong."""
    return with_tokenizer(random_qwen3, tmp_path_factory.mktemp("babbler") / "model")
