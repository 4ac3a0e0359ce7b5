"""Clients that do not read: they hold neither memory nor pages nor a connection for long."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

import engine.client
from engine.client import SLOW, EngineClient
from engine.config import EngineConfig
from tests.faults import rows
from tests.faults.test_disconnect import difference, finished
from tests.faults.test_engine_client import ask, until
from tests.server.live import LiveServer

#: 64 answers of 240 tokens with 20 candidates each, about 10 MB, are more than the 4 MiB a socket's buffer may grow to
MUCH: dict[str, Any] = {
    "prompt": ["w", "x", "y", "z"],
    "max_tokens": 240,
    "ignore_eos": True,
    "n": 16,
    "logprobs": 20,
    "stream": True,
}


@pytest.fixture(scope="module")
def impatient(served_model: Path) -> Iterator[LiveServer]:
    with LiveServer(served_model, "--client-timeout", "2") as live:
        yield live


def connections(server: LiveServer) -> int:
    """Open connections of the API process."""
    return sum(c.status == psutil.CONN_ESTABLISHED for c in psutil.Process(server.process.pid).net_connections("tcp"))


def test_a_client_that_never_reads_is_taken_for_gone(impatient: LiveServer) -> None:
    impatient.complete(prompt="x", max_tokens=1)
    before, opened = finished(impatient), connections(impatient)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", impatient.port))
        body = json.dumps(MUCH).encode()
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        client.sendall(f"{head}\r\n\r\n".encode() + body)
        impatient.wait_until(lambda: impatient.get("/load").json()["server_load"] > 0, 20)
        impatient.wait_until(lambda: difference(finished(impatient), before)["abort"] > 0, 90)
        assert impatient.get("/health").status_code == rows.SLOW.health
        assert impatient.get("/health/ready").status_code == rows.SLOW.ready
        impatient.wait_until_idle(10)
        impatient.wait_until(lambda: connections(impatient) <= opened, 20)
    assert impatient.get("/load").json()["server_load"] == 0
    assert impatient.complete(prompt="x", max_tokens=1)


async def test_what_a_reader_may_lag_behind_is_bounded(served_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.client, "MAX_BACKLOG", 8)
    client = await EngineClient.start(EngineConfig(model=str(served_model), dtype="float64", threads=1))
    try:
        async with aclosing(client.generate(ask("slow", 240))) as outputs:
            await anext(outputs)
            await until(lambda: client.stats.steps > 8 and client.stats.running == 0, 30)
            rest = [output async for output in outputs]
        assert len(rest) == 9
        assert rest[-1].error == SLOW
        await until(lambda: client.stats.pages_used == 0 and client.in_flight == 0)
        assert (await _whole(client))[-1] == "length"
    finally:
        await client.close()


async def _whole(client: EngineClient) -> list[str | None]:
    return [output.finish_reason async for output in client.generate(ask("next", 4))]


async def test_a_reader_that_keeps_up_loses_nothing(served_model: Path) -> None:
    client = await EngineClient.start(EngineConfig(model=str(served_model), dtype="float64", threads=1))
    try:
        async with asyncio.timeout(60):
            tokens = [len(output.token_ids) async for output in client.generate(ask("quick", 240))]
        assert sum(tokens) == 240
    finally:
        await client.close()
