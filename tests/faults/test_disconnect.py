"""Clients that leave: what was computed for them stops, and nothing of it stays."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import httpx
import pytest

from tests.faults import rows
from tests.server.live import LiveServer

#: longer than any client here waits
LONG: dict[str, Any] = {"prompt": "def f(", "max_tokens": 240, "ignore_eos": True, "temperature": 1.0}


def finished(server: LiveServer) -> dict[str, float]:
    samples = server.metrics()
    reasons = ("stop", "length", "abort", "error")
    return {reason: samples[f'tidar:request_success_total{{finished_reason="{reason}"}}'] for reason in reasons}


def difference(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    return {reason: after[reason] - before[reason] for reason in after}


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_a_client_that_leaves_is_aborted_and_counted(server: LiveServer, path: str, streaming: bool) -> None:
    server.wait_until_idle()
    before = finished(server)
    asked = {**LONG, "n": 4, "stream": streaming, "messages": [{"role": "user", "content": "x"}]}
    asyncio.run(_leave(server, path, asked))
    # the engine's figures may be a quarter of a second old, so an idle one may not have shown these requests yet
    server.wait_until(lambda: sum(difference(finished(server), before).values()) >= 4, 2)
    server.wait_until_idle(2)
    assert difference(finished(server), before) == {"stop": 0, "length": 0, "abort": 4, "error": 0}
    assert server.get("/health").status_code == rows.GONE.health
    assert server.get("/health/ready").status_code == rows.GONE.ready


def test_a_thousand_clients_that_leave_at_random_moments_leave_nothing_behind(server: LiveServer) -> None:
    server.wait_until_idle()
    before = finished(server)
    asyncio.run(_visit(server.port, 1000))
    server.wait_until_idle(2)
    ended = difference(finished(server), before)
    assert ended["error"] == ended["stop"] == 0
    # One that leaves before its request has been read was never there.
    assert 900 <= ended["abort"] + ended["length"] <= 1000
    assert ended["abort"] > 800
    assert server.complete(prompt="x", max_tokens=1)


async def _leave(server: LiveServer, path: str, asked: dict[str, Any]) -> None:
    """Ask, wait until the engine is at it, and go."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        asking = asyncio.create_task(client.post(path, json=asked))
        while (await client.get("/load")).json()["server_load"] < asked["n"]:
            assert not asking.done(), "the answer came before the client could leave"
            await asyncio.sleep(0.005)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _visit(port: int, clients: int) -> None:
    """So many clients, fifty at a time; half of them stream."""
    places = asyncio.Semaphore(50)
    chance = random.Random(0)

    async def one(body: dict[str, Any], seconds: float) -> None:
        async with places:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            payload = json.dumps(body).encode()
            head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
            await writer.drain()
            await asyncio.sleep(seconds)
            writer.close()

    await asyncio.gather(
        *(one({**LONG, "stream": client % 2 == 0}, chance.uniform(0.01, 0.25)) for client in range(clients))
    )
