"""Fixtures that all suites against a live server share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.tokenizer import Tokenizer
from tests.server.live import LiveServer
from tests.server.tiny_model import save_tiny_model


@pytest.fixture(scope="session")
def served_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, made once."""
    return save_tiny_model(tmp_path_factory.mktemp("served") / "tiny-tidar")


@pytest.fixture(scope="session")
def tokenizer(served_model: Path) -> Tokenizer:
    return Tokenizer.from_folder(served_model)


@pytest.fixture(scope="session")
def server(served_model: Path) -> Iterator[LiveServer]:
    """A server with full pre-drafts, so that steps commit several tokens; for tests that leave it as they found it."""
    with LiveServer(served_model, "--decoding", "tidar", "--predrafts", "full") as live:
        yield live
