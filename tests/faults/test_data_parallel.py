"""Two engines behind one API: the same tokens as one, each prompt where its prefix is, and one's death is its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.live import LiveServer
from tests.server.test_errors import error_of

pytestmark = pytest.mark.slow

FLAGS = ("--decoding", "tidar", "--predrafts", "full", "--data-parallel-size", "2")
SAMPLED: dict[str, Any] = {"max_tokens": 24, "ignore_eos": True, "temperature": 100.0, "return_token_ids": True}
HITS, RUNNING = "tidar:prefix_cache_hits_total", "tidar:num_requests_running"


@pytest.fixture(scope="module")
def pair(served_model: Path) -> Iterator[LiveServer]:
    with LiveServer(served_model, *FLAGS) as live:
        yield live


def answers(live: LiveServer, count: int) -> list[list[int]]:
    """Token ids of requests that are all in flight together."""
    found: list[list[int]] = [[]] * count

    def ask(index: int) -> None:
        body = {**SAMPLED, "prompt": [5 + index] * (index + 3), "seed": index}
        found[index] = live.complete(**body)["choices"][0]["token_ids"]

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_two_engines_say_what_one_says_and_both_work(pair: LiveServer, server: LiveServer) -> None:
    assert len(pair.engine_pids()) == 2
    assert answers(pair, 16) == answers(server, 16)
    pair.wait_until_idle()
    assert all(tokens > 0 for tokens in pair.of_engines("tidar:generation_tokens_total"))
    accepted, drafts = (pair.metrics()[f"vllm:spec_decode_num_{name}_total"] for name in ("accepted_tokens", "drafts"))
    assert accepted > drafts > 0


def test_a_prompt_goes_to_the_engine_that_has_its_beginning(pair: LiveServer) -> None:
    """Four conversations of six turns each, one after the other: every later turn finds all earlier pages."""
    pair.wait_until_idle()
    before = pair.of_engines(HITS)
    histories = [[100 + speaker] * 40 for speaker in range(4)]
    for turn in range(6):
        for speaker, history in enumerate(histories):
            usage = pair.complete(prompt=history, max_tokens=1)["usage"]
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            assert cached >= (len(history) - 20 - 1) // 16 * 16 if turn else cached == 0
            history += [200 + speaker + turn] * 20
    pair.wait_until_idle()
    moved = [now - then for now, then in zip(pair.of_engines(HITS), before, strict=True)]
    assert all(hits > 0 for hits in moved)


def test_one_engine_dies_and_the_other_goes_on(pair: LiveServer) -> None:
    pair.wait_until_idle()
    restarts = pair.metrics()["tidar:engine_restarts_total"]
    long: dict[str, Any] = {"prompt": "def f(", "max_tokens": 240, "ignore_eos": True, "temperature": 1.0}
    got: list[httpx.Response] = []
    busy = [threading.Thread(target=lambda: got.append(pair.post("/v1/completions", long))) for _ in range(32)]
    for thread in busy:
        thread.start()
    pair.wait_until(lambda: all(count > 0 for count in pair.of_engines(RUNNING)), 10)
    os.kill(pair.engine_pids()[0], signal.SIGKILL)
    pair.wait_until(lambda: sorted(pair.of_engines("tidar:engine_healthy")) == [0, 1], 5)
    assert pair.get("/health").status_code == pair.get("/health/ready").status_code == 200
    assert pair.complete(prompt="x", max_tokens=4, ignore_eos=True)["usage"]["completion_tokens"] == 4
    for thread in busy:
        thread.join()
    lost = [answer for answer in got if answer.status_code != 200]
    assert 0 < len(lost) < len(got)
    assert all("send it again" in error_of(answer, 500)["message"] for answer in lost)
    pair.wait_until(lambda: pair.of_engines("tidar:engine_healthy") == [1, 1], 60)
    assert pair.metrics()["tidar:engine_restarts_total"] == restarts + 1
    assert len(answers(pair, 8)) == 8
    pair.wait_until_idle()


def test_settings_for_more_gpus_than_there_are_say_so(served_model: Path) -> None:
    from engine.config import EngineConfig
    from server.run import run_server
    from server.settings import ServerSettings

    config = EngineConfig(model=str(served_model), data_parallel_size=64, device="cuda")
    assert run_server(config, ServerSettings(model_names=("x",), port=0)) == 1
