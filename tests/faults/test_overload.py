"""More than the server can do: refusals cost nothing, say when to come again, and those inside are served."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.turnover import ENOUGH, Turnover
from tests.faults import rows
from tests.server.live import LiveServer
from tests.server.test_errors import JSON

GENERATING = ("completions", "chat/completions", "responses")
ASK: dict[str, Any] = {"prompt": "x", "max_tokens": 200, "ignore_eos": True}


@pytest.fixture(scope="module")
def narrow(served_model: Path) -> Iterator[LiveServer]:
    flags = ("--max-num-seqs", "2", "--max-waiting", "60", "--max-queue-seconds", "0.05")
    with LiveServer(served_model, *flags) as live:
        yield live


def test_a_full_queue_refuses_before_it_reads_or_compiles_anything(narrow: LiveServer) -> None:
    """A body that is no JSON and a grammar that nobody has seen get the same 429 as a sound request."""

    async def crowd() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=narrow.url, timeout=60) as client:
            filling = asyncio.create_task(client.post("/v1/completions", json={**ASK, "n": 62, "max_tokens": 2}))
            while (await client.get("/load")).json()["server_load"] < 62:
                await asyncio.sleep(0.01)
            new = {**ASK, "structured_outputs": {"regex": "[a-f]{3}"}}
            refused = [
                await client.post("/v1/completions", json=ASK),
                await client.post("/v1/completions", content=b"{", headers=JSON),
                await client.post("/v1/completions", json=new),
                await client.post("/v1/chat/completions", json={"messages": []}),
                await client.post("/v1/responses", json={"input": "x"}),
            ]
            assert (await client.get("/health")).status_code == rows.FULL.health
            os.kill(narrow.engine_pid(), signal.SIGCONT)
            assert (await filling).status_code == 200
            return refused

    routes = [f'tidar:http_requests_total{{handler="/v1/{name}",method="POST",status="429"}}' for name in GENERATING]
    before = narrow.metrics()
    os.kill(narrow.engine_pid(), signal.SIGSTOP)
    for refused in asyncio.run(crowd()):
        rows.FULL.check(refused)
    after = narrow.metrics()
    assert [after[route] - before.get(route, 0) for route in routes] == [3, 1, 1]
    with pytest.raises(AssertionError):
        narrow.grammar_pid()
    narrow.wait_until_idle()


def test_who_would_wait_too_long_is_sent_away(narrow: LiveServer) -> None:
    """The pace is known once a few have left while others waited and came."""

    async def crowd() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=narrow.url, timeout=120) as client:

            async def visitor() -> list[httpx.Response]:
                return [await client.post("/v1/completions", json=ASK) for _ in range(3)]

            visits = await asyncio.gather(*(visitor() for _ in range(20)))
            return [answer for visit in visits for answer in visit]

    answers = asyncio.run(crowd())
    served = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(served) >= ENOUGH
    assert refused
    for answer in refused:
        rows.TOO_LONG.check(answer)
    narrow.wait_until_idle()
    assert narrow.complete(**ASK)


def test_the_pace_is_known_after_enough_departures() -> None:
    turnover = Turnover()
    for second in range(ENOUGH):
        turnover.observe(second, True, float(second))
    assert turnover.seconds_for(10) == 0.0
    turnover.observe(ENOUGH, True, float(ENOUGH))
    assert turnover.seconds_for(10) == pytest.approx(10.0, rel=0.01)


def test_a_faster_pace_is_learnt() -> None:
    turnover = Turnover()
    now = 0.0
    for finished in range(100):
        now += 1.0
        turnover.observe(finished, True, now)
    for finished in range(100, 600):
        now += 0.1
        turnover.observe(finished, True, now)
    assert turnover.seconds_for(1) == pytest.approx(0.1, rel=0.05)
