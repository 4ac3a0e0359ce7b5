"""Server-sent events, without a server: what goes out when, and what happens to the generator behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from server.errors import ApiError
from server.settings import StreamTimes
from server.streaming import EventStream


class Wire:
    """One ASGI connection: collects what is sent; `leave` is the client's disconnect."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))

    async def run(self, chunks: AsyncGenerator[bytes, None], keep_alive: float = 10) -> None:
        await EventStream(chunks, StreamTimes(keep_alive))({"type": "http"}, self.receive, self.send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def test_chunks_leave_as_events_and_done_comes_last() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b'{"a":1}'
        yield b'{"b":2}'

    wire = Wire()
    await wire.run(chunks())
    assert wire.status == 200
    assert wire.body == b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n'
    assert not wire.sent[-1]["more_body"]


async def test_silence_is_filled_with_comments() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(0.15)
        yield b"{}"
        await asyncio.sleep(0.15)

    wire = Wire()
    await wire.run(chunks(), keep_alive=0.05)
    before, after = wire.body.split(b"data: {}\n\n")
    assert before.startswith(b": keep-alive\n\n")
    assert after.startswith(b": keep-alive\n\n")


async def test_a_failure_before_the_first_chunk_has_its_own_status() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        raise ApiError(429, "Too many.", headers={"Retry-After": "1"})
        yield b""

    wire = Wire()
    await wire.run(chunks())
    assert wire.status == 429
    assert (b"retry-after", b"1") in wire.sent[0]["headers"]
    assert b'"message":"Too many."' in wire.body


async def test_a_failure_after_the_first_chunk_is_an_event() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"{}"
        raise ApiError(500, "It broke.", code="engine_error")

    wire = Wire()
    await wire.run(chunks())
    assert wire.status == 200
    error = b'{"error":{"message":"It broke.","type":"server_error","param":null,"code":"engine_error"}}'
    assert wire.body == b"data: {}\n\ndata: " + error + b"\n\ndata: [DONE]\n\n"


async def test_an_unexpected_failure_tells_the_client_nothing_of_the_inside() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"{}"
        raise KeyError("secret")

    wire = Wire()
    await wire.run(chunks())
    assert b"internal_error" in wire.body
    assert b"secret" not in wire.body


async def test_a_client_that_leaves_closes_the_generator() -> None:
    closed = asyncio.Event()

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"{}"
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    wire = Wire()
    running = asyncio.create_task(wire.run(chunks()))
    await asyncio.sleep(0.05)
    wire.left.set()
    await asyncio.wait_for(running, 1)
    assert closed.is_set()
