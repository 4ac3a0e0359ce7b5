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
def roomy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights with a context that descriptions of tools fit into."""
    return save_tiny_model(tmp_path_factory.mktemp("roomy") / "tiny-tidar", context=1024)


@pytest.fixture(scope="session")
def tool_server(roomy_model: Path) -> Iterator[LiveServer]:
    """Full pre-drafts; no format of tool calls is known."""
    with LiveServer(roomy_model, "--decoding", "tidar", "--predrafts", "full") as live:
        yield live


@pytest.fixture(scope="session")
def hermes_server(roomy_model: Path) -> Iterator[LiveServer]:
    """Full pre-drafts; reads Hermes calls and Qwen 3 thoughts."""
    flags = ("--tool-call-parser", "hermes", "--enable-auto-tool-choice", "--reasoning-parser", "qwen3")
    with LiveServer(roomy_model, "--decoding", "tidar", "--predrafts", "full", *flags) as live:
        yield live


@pytest.fixture(scope="session")
def server(served_model: Path) -> Iterator[LiveServer]:
    """A server with full pre-drafts, so that steps commit several tokens; for tests that leave it as they found it."""
    with LiveServer(served_model, "--decoding", "tidar", "--predrafts", "full") as live:
        yield live
