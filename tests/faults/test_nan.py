"""A request whose logits are not numbers fails alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.faults import rows
from tests.server.live import LiveServer
from tests.server.sse import read_events, stream
from tests.server.test_errors import error_of

#: the one token whose embedding is damaged
POISON = 77
HEALTHY: dict[str, Any] = {
    "prompt": [10, 11, 12],
    "max_tokens": 60,
    "temperature": 100.0,
    "seed": 4,
    "ignore_eos": True,
}
HEALTHY["logit_bias"] = {str(POISON): -100}


@pytest.fixture(scope="module")
def poisoned(served_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The tiny model with NaN in one row of its embedding, and a head of its own that is sound."""
    folder = tmp_path_factory.mktemp("poisoned") / "model"
    folder.mkdir()
    for path in served_model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    weights["model.embed_tokens.weight"][POISON] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with LiveServer(folder, "--num-pages", "64") as live:
        yield live


def test_the_request_gets_an_error_and_the_server_lives_on(poisoned: LiveServer) -> None:
    rows.NAN.check(poisoned.post("/v1/completions", {"prompt": [10, POISON]}))
    assert poisoned.get("/health").status_code == rows.NAN.health
    assert poisoned.get("/health/ready").status_code == rows.NAN.ready
    assert poisoned.metrics()['tidar:request_success_total{finished_reason="error"}'] == 1
    poisoned.wait_until_idle()


def test_a_stream_gets_the_same_error_before_it_begins(poisoned: LiveServer) -> None:
    error_of(poisoned.post("/v1/completions", {"prompt": [10, POISON], "stream": True}), 500)


def test_a_stream_that_has_begun_gets_it_as_an_event(poisoned: LiveServer) -> None:
    """The bias makes the first token the damaged one, which the second step reads."""
    ask = {"prompt": [10, 11], "max_tokens": 60, "temperature": 0, "logit_bias": {str(POISON): 100}, "stream": True}
    with poisoned.client.stream("POST", "/v1/completions", json=ask) as answer:
        assert answer.status_code == 200
        chunks = list(read_events(answer.iter_lines()))
    assert "choices" in chunks[0]
    rows.NAN.check_object(chunks[-1]["error"])
    poisoned.wait_until_idle()


def test_neighbours_in_the_same_batch_are_unharmed(poisoned: LiveServer) -> None:
    alone = poisoned.complete(**HEALTHY)["choices"][0]["text"]

    async def together() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=poisoned.url, timeout=60) as client:
            bodies = [HEALTHY if turn % 2 else {"prompt": [10, POISON], "max_tokens": 60} for turn in range(16)]
            return await asyncio.gather(*(client.post("/v1/completions", json=body) for body in bodies))

    for turn, answer in enumerate(asyncio.run(together())):
        if turn % 2:
            assert answer.json()["choices"][0]["text"] == alone
        else:
            error_of(answer, 500)
    poisoned.wait_until_idle()


def test_what_a_failed_request_left_in_its_pages_harms_nobody_later(poisoned: LiveServer) -> None:
    alone = poisoned.complete(**HEALTHY)["choices"][0]["text"]
    for _ in range(8):
        poisoned.post("/v1/completions", {"prompt": [POISON] * 200, "max_tokens": 8})
    chunks = stream(f"{poisoned.url}/v1/completions", HEALTHY)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == alone
