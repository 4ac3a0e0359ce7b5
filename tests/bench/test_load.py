"""The soak and the overload, small: against a real server, and with what they must find where something is wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import overload
from bench.load.client import BROKE, LEFT, Outcome
from bench.load.figures import trend
from bench.load.mix import SHARES, mixed
from bench.load.processes import Served, served
from bench.soak import Soak, problems, report, soak

pytestmark = pytest.mark.slow

REQUESTS = 150


@pytest.fixture(scope="module")
def server(served_model: Path) -> Iterator[Served]:
    flags = ("--threads", "1", "--max-num-seqs", "8", "--max-queue-seconds", "0.5")
    with served(str(served_model), *flags) as live:
        yield live


def test_a_small_soak_with_an_engine_killed_leaves_nothing_behind(served_model: Path) -> None:
    with served(str(served_model), "--threads", "1") as live:
        before = live.engine_pids()
        run = asyncio.run(soak(live, REQUESTS, 120, 24, kill=True, seed=1))
        assert live.engine_pids() != before
    found = report(run)
    assert len(run.outcomes) == REQUESTS
    assert run.wrong() == []
    assert not any(run.left_over.values())
    assert found["recovery_seconds"] > 0
    assert found["time_to_first_token"]["p99"] > 0
    assert found["memory"]["api"] is None or found["memory"]["api"]["mean_mib"] > 10


def test_overload_is_refused_quickly_while_others_are_served(server: Served) -> None:
    found = asyncio.run(overload.measure(server.url, 8.0, 10, 40, 4.0, 60.0))
    assert found["refused"] > 0
    assert found["goodput_per_second"] > 0
    assert set(found["statuses"]) == {"200", "429"}
    assert "A refusal came without Retry-After." not in found["problems"]


def test_every_kind_of_request_is_drawn() -> None:
    chance = random.Random(0)
    assert {mixed(chance, 256).kind for _ in range(1000)} == set(SHARES)


@pytest.mark.parametrize(
    "wrong",
    [
        Outcome("short", 500, 1.0),
        Outcome("chat", 200, 1.0, error="the stream ended with ''"),
        Outcome("malformed", 200, 1.0),
        Outcome("over-long", 503, 1.0),
        Outcome("aborted", 500, 1.0),
        Outcome("short", BROKE, 1.0, error="ReadError"),
        Outcome("short", 429, 1.0),
    ],
    ids=lambda outcome: f"{outcome.kind} {outcome.status}",
)
def test_what_should_not_have_been_is_found(wrong: Outcome) -> None:
    fine = [Outcome("short", 200, 1.0), Outcome("aborted", LEFT, 1.0), Outcome("malformed", 400, 1.0)]
    assert Soak([*fine, wrong], [2.0, 2.0, 2.0, 50.0], seconds=60.0).wrong() == [wrong]
    broken = Soak([*fine, wrong], [2.0, 2.0, 2.0, 50.0], seconds=60.0, killed=40.0, back=45.0)
    assert broken.wrong() == [wrong], "it began after the engine was back"


def test_failures_while_the_engine_is_away_are_the_injected_ones_but_broken_connections_are_not() -> None:
    run = Soak(
        [Outcome("short", 500, 2.0), Outcome("short", BROKE, 2.0)], [41.0, 41.0], seconds=60.0, killed=40.0, back=45.0
    )
    assert [outcome.status for outcome in run.wrong()] == [BROKE]


def test_growing_memory_and_pages_that_stay_are_problems() -> None:
    growing = trend([(float(second), 100.0 + second / 10) for second in range(100)])
    still = trend([(float(second), 100.0 + second % 2) for second in range(100)])
    run = Soak(seconds=100.0, left_over={"kv_cache_usage_perc": 0.5, "in_flight": 0})
    said = problems(run, {"api": growing, "engine": still})
    assert said == ["The api process grew by 9.9 MiB.", "kv_cache_usage_perc is 0.5 with nobody there."]


def test_an_engine_that_stays_away_is_a_problem() -> None:
    assert problems(Soak(seconds=9.0, killed=1.0), {}) == ["The engine did not come back."]
