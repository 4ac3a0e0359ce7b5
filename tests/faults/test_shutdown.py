"""Ctrl-C and SIGTERM: requests in flight finish, newcomers are sent away, and the process leaves in peace."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults import rows
from tests.server.live import ROOT, LiveServer, free_port
from tests.server.sse import read_events

pytestmark = pytest.mark.slow

LONG: dict[str, Any] = {"prompt": "def f(", "max_tokens": 240, "ignore_eos": True, "temperature": 1.0, "n": 16}


def left_in_peace(server: LiveServer, seconds: float = 20) -> bool:
    """Whether the process ends with exit code 0 and without a stack trace."""
    code = server.process.wait(seconds)
    assert "Traceback" not in server.log, server.log
    return code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_requests_in_flight_finish_and_newcomers_get_a_503(served_model: Path, number: signal.Signals) -> None:
    with LiveServer(served_model) as live:
        with live.client.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as answer:
            lines = answer.iter_lines()
            next(lines)
            live.stop(number)
            live.wait_until(lambda: live.get("/health/ready").status_code == 503, 5)
            rows.STOPPING.check(live.post("/v1/completions", {"prompt": "x"}))
            assert live.get("/health").status_code == rows.STOPPING.health
            assert live.get("/health/ready").status_code == rows.STOPPING.ready
            ends = [choice["finish_reason"] for chunk in read_events(lines) for choice in chunk["choices"]]
        assert ends.count("length") == 16
        assert left_in_peace(live)


@pytest.mark.parametrize(("timeout", "signals"), [("0.2", 1), ("60", 2)])
def test_what_does_not_finish_in_time_or_at_the_second_ctrl_c_gets_an_error(
    served_model: Path, timeout: str, signals: int
) -> None:
    with LiveServer(served_model, "--shutdown-timeout", timeout) as live:
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(live.post("/v1/completions", {**LONG, "n": 64})))
        with live.client.stream("POST", "/v1/completions", json={**LONG, "n": 64, "stream": True}) as answer:
            lines = answer.iter_lines()
            next(lines)
            waiting.start()
            live.wait_until(lambda: live.get("/load").json()["server_load"] == 128, 10)
            for _ in range(signals):
                live.stop()
                live.wait_until(lambda: live.get("/health/ready").status_code == 503, 5)
            last = list(read_events(lines))[-1]
        rows.STOPPING.check_object(last["error"])
        waiting.join()
        rows.STOPPING.check(answers[0])
        assert left_in_peace(live)


def test_ctrl_c_on_an_idle_server_ends_it_at_once(served_model: Path) -> None:
    with LiveServer(served_model) as live:
        live.complete(prompt="x", max_tokens=1)
        live.stop()
        assert left_in_peace(live, 5)


def test_ctrl_c_while_the_model_is_loading_ends_it_too(served_model: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "serve", str(served_model), "--port", str(free_port())]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while not children.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0, log
    assert "Traceback" not in log
