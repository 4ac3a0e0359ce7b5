"""The engine process dies: its requests are told, /health turns, and another engine takes over."""

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

from tests.faults import rows
from tests.server.live import LiveServer
from tests.server.sse import read_events
from tests.server.test_errors import error_of

pytestmark = pytest.mark.slow

LONG: dict[str, Any] = {"prompt": "def f(", "max_tokens": 240, "ignore_eos": True, "temperature": 1.0, "n": 16}


@pytest.fixture(scope="module")
def mortal(served_model: Path) -> Iterator[LiveServer]:
    with LiveServer(served_model) as live:
        yield live


def alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_requests_in_flight_get_an_error_and_the_engine_comes_back(mortal: LiveServer) -> None:
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(mortal.post("/v1/completions", LONG)))
    with mortal.client.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as streaming:
        lines = streaming.iter_lines()
        next(lines)
        waiting.start()
        mortal.wait_until(lambda: mortal.get("/load").json()["server_load"] == 32, 10)
        os.kill(mortal.engine_pid(), signal.SIGKILL)
        last = list(read_events(lines))[-1]
    rows.KILLED.check_object(last["error"])
    waiting.join()
    rows.KILLED.check(answers[0])
    for path, status in (("/health", rows.KILLED.health), ("/health/ready", rows.KILLED.ready)):
        assert error_of(mortal.get(path), status)["type"] == "service_unavailable_error"
    rows.RESTARTING.check(mortal.post("/v1/completions", {"prompt": "x"}))
    assert mortal.metrics()["tidar:engine_healthy"] == 0
    mortal.wait_until(lambda: mortal.get("/health").status_code == 200, 60)
    assert mortal.get("/health/ready").status_code == 200
    assert mortal.complete(prompt="x", max_tokens=4, ignore_eos=True)["usage"]["completion_tokens"] == 4
    assert mortal.metrics()["tidar:engine_restarts_total"] == 1
    mortal.wait_until_idle()


def test_a_stopped_engine_is_not_ready_and_is_again_when_it_goes_on(mortal: LiveServer) -> None:
    """With a forward long past, readiness asks the engine for one token; a stopped process cannot answer."""
    pid = mortal.engine_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        mortal.wait_until(lambda: mortal.get("/health/ready").status_code == 503, 30)
        assert mortal.get("/health").status_code == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    mortal.wait_until(lambda: mortal.get("/health/ready").status_code == 200, 10)


def test_the_engine_does_not_outlive_a_server_that_is_killed(mortal: LiveServer) -> None:
    pid = mortal.engine_pid()
    mortal.process.kill()
    mortal.process.wait()
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)
