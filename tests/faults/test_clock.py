"""The wall clock is set while requests run: no duration notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import injection, rows
from tests.faults.injection import Injection
from tests.server.live import LiveServer
from tests.server.sse import read_events

ASK: dict[str, Any] = {"prompt": "x", "max_tokens": 200, "ignore_eos": True, "stream": True, "return_metrics": True}


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Injection:
    return Injection(tmp_path_factory.mktemp("clock"), injection.CLOCK)


@pytest.fixture(scope="module")
def server(served_model: Path, clock: Injection) -> Iterator[LiveServer]:
    with LiveServer(served_model, env=clock.environment) as live:
        yield live


@pytest.mark.parametrize("seconds", [-7200, 7200])
def test_durations_stay_what_they_were(server: LiveServer, clock: Injection, seconds: int) -> None:
    clock.end()
    before = server.metrics()
    with server.client.stream("POST", "/v1/completions", json=ASK) as answer:
        lines = answer.iter_lines()
        next(lines)
        clock.strike(str(seconds))
        chunks = list(read_events(lines))
    measured = chunks[-1]["metrics"]
    for name in ("queue_time", "time_to_first_token", "e2e_latency"):
        assert 0 <= measured[name] < 60
    after = server.metrics()
    for name in ("time_to_first_token", "e2e_request_latency", "request_queue_time"):
        assert 0 <= after[f"tidar:{name}_seconds_sum"] - before[f"tidar:{name}_seconds_sum"] < 60
    created = server.complete(prompt="x", max_tokens=1)["created"]
    assert abs(created - chunks[0]["created"] - seconds) < 60, "the clock did not jump"
    assert server.get("/health").status_code == rows.CLOCK.health
    assert server.get("/health/ready").status_code == rows.CLOCK.ready
    server.wait_until_idle()
