"""An engine that stops stepping is replaced, whether or not anybody was waiting for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import rows
from tests.faults.test_engine_death import alive
from tests.server.live import LiveServer
from tests.server.sse import read_events

pytestmark = pytest.mark.slow

LONG: dict[str, Any] = {"prompt": "def f(", "max_tokens": 240, "ignore_eos": True, "temperature": 1.0, "n": 16}


@pytest.fixture(scope="module")
def server(served_model: Path) -> Iterator[LiveServer]:
    with LiveServer(served_model, "--engine-timeout", "6") as live:
        yield live


def test_a_stream_is_told_and_another_engine_takes_over(server: LiveServer) -> None:
    pid = server.engine_pid()
    with server.client.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        os.kill(pid, signal.SIGSTOP)
        assert server.get("/health").status_code == rows.HUNG.health
        rows.HUNG.check_object(list(read_events(lines))[-1]["error"])
    server.wait_until(lambda: not alive(pid), 10)
    server.wait_until(lambda: server.get("/health/ready").status_code == 200, 90)
    assert server.engine_pid() != pid
    assert server.complete(prompt="x", max_tokens=2)
    server.wait_until_idle()


def test_an_idle_engine_that_hangs_is_replaced_before_anybody_asks(server: LiveServer) -> None:
    server.wait_until(lambda: server.get("/health/ready").status_code == 200, 90)
    server.wait_until_idle()
    pid, restarts = server.engine_pid(), server.metrics()["tidar:engine_restarts_total"]
    os.kill(pid, signal.SIGSTOP)
    server.wait_until(lambda: not alive(pid), 60)
    server.wait_until(lambda: server.metrics()["tidar:engine_restarts_total"] > restarts, 90)
    assert server.complete(prompt="x", max_tokens=2)


def test_a_server_that_was_itself_suspended_blames_nobody(server: LiveServer) -> None:
    server.wait_until(lambda: server.get("/health/ready").status_code == 200, 90)
    pid = server.engine_pid()
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        time.sleep(9)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert server.complete(prompt="x", max_tokens=2)
    assert server.engine_pid() == pid
