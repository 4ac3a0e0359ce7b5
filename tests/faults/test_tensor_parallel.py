"""A model split over two processes, behind the API: the same tokens, and a death of either process is survived."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.test_engine_death import alive
from tests.server.live import LiveServer
from tests.server.test_errors import error_of

pytestmark = pytest.mark.slow

LONG: dict[str, Any] = {"prompt": "def f(", "max_tokens": 240, "ignore_eos": True, "temperature": 1.0, "n": 16}
SAMPLED: dict[str, Any] = {"prompt": [5] * 20, "max_tokens": 40, "ignore_eos": True, "temperature": 100.0, "seed": 3}


@pytest.fixture(scope="module")
def split(served_model: Path) -> Iterator[LiveServer]:
    with LiveServer(served_model, "--decoding", "tidar", "--predrafts", "full", "--tensor-parallel-size", "2") as live:
        yield live


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_two_processes_say_what_one_says(split: LiveServer, server: LiveServer) -> None:
    """Answers are the same and drafts are accepted as often."""
    said = [live.complete(**SAMPLED, return_token_ids=True)["choices"][0]["token_ids"] for live in (split, server)]
    assert said[0] == said[1]
    assert split.metrics()["tidar:tokens_per_forward"] > 1.5


def test_a_killed_rank_takes_its_engine_along_and_both_come_back(split: LiveServer) -> None:
    engine = split.engine_pid()
    [follower] = children(engine)
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(split.post("/v1/completions", LONG)))
    waiting.start()
    split.wait_until(lambda: split.metrics()["tidar:num_requests_running"] == 16, 10)
    os.kill(follower, signal.SIGKILL)
    waiting.join()
    assert "send it again" in error_of(answers[0], 500)["message"]
    split.wait_until(lambda: split.get("/health").status_code == 200, 60)
    assert split.engine_pid() != engine and children(split.engine_pid()) != [follower]
    assert split.complete(**SAMPLED)["usage"]["completion_tokens"] == 40
    split.wait_until_idle()


def test_a_rank_killed_while_idle_is_noticed(split: LiveServer) -> None:
    [follower] = children(split.engine_pid())
    restarts = split.metrics()["tidar:engine_restarts_total"]
    os.kill(follower, signal.SIGKILL)
    split.wait_until(lambda: split.metrics()["tidar:engine_restarts_total"] == restarts + 1, 60)
    assert "A process of the split model ended with exit code -9." in split.log


def test_the_other_ranks_do_not_outlive_a_killed_engine(split: LiveServer) -> None:
    engine = split.engine_pid()
    [follower] = children(engine)
    os.kill(engine, signal.SIGKILL)
    split.wait_until(lambda: not alive(follower), 10)
    split.wait_until(lambda: split.get("/health").status_code == 200, 60)


def test_ctrl_c_ends_all_ranks(split: LiveServer) -> None:
    engine = split.engine_pid()
    [follower] = children(engine)
    before = len(split.log)
    split.stop()
    assert split.process.wait(20) == 0
    deadline = time.monotonic() + 10
    while (alive(engine) or alive(follower)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(engine) and not alive(follower)
    assert "Traceback" not in split.log[before:]
