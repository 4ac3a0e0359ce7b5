"""One request as its client sees it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import uvloop

from bench.load.mix import Ask

T = TypeVar("T")

#: the longest that anybody waits, in seconds
PATIENCE = 300.0
#: uvicorn ends an idle connection after 5 s
KEEP_SECONDS = 3.0
LONGEST_LINE = 2**20
#: what a stream ends with when all is well
LAST_WORDS = ("data: [DONE]", "event: response.completed", "event: response.incomplete")


@dataclass(frozen=True)
class Outcome:
    """How one request ended. Times are seconds since it was sent; `error` is what was wrong with the answer itself."""

    kind: str
    status: int
    seconds: float
    first: float | None = None
    tokens: int = 0
    retry_after: str | None = None
    error: str | None = None

    @property
    def answered(self) -> bool:
        return self.status == 200 and self.error is None


#: the status of a request whose client went away, and of one whose connection broke
LEFT, BROKE = 0, -1


def make_client(url: str, connections: int) -> aiohttp.ClientSession:
    """Light enough to flood a server from the same machine. Connections are left before the server closes them."""
    connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEP_SECONDS)
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    return aiohttp.ClientSession(url, connector=connector, timeout=timeout, read_bufsize=LONGEST_LINE)


def run_client(main: Coroutine[Any, Any, T]) -> T:
    """asyncio.run on the quicker loop, since the client takes its time from the server's processors."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def ask(client: aiohttp.ClientSession, asked: Ask) -> Outcome:
    """Send one request and read its answer to the end, or leave when it says so."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(asked.leaves):
            return await _answer(client, asked, began)
    except TimeoutError:
        return Outcome(asked.kind, LEFT, time.monotonic() - began)
    except aiohttp.ClientError as error:
        return Outcome(asked.kind, BROKE, time.monotonic() - began, error=type(error).__name__)


async def _answer(client: aiohttp.ClientSession, asked: Ask, began: float) -> Outcome:
    content = asked.content if asked.content is not None else json.dumps(asked.body).encode()
    headers = {"Content-Type": "application/json"}
    async with client.post(asked.path, data=content, headers=headers) as answer:
        if answer.status != 200 or not asked.streams:
            return _whole(asked, answer, await answer.read(), began)
        first, tokens, last, failed = None, 0, "", None
        async for piece in answer.content:
            line = piece.decode().rstrip("\r\n")
            if line.startswith("data: {"):
                first = time.monotonic() - began if first is None else first
                tokens += 1
                failed = line if '"error":{' in line else failed
            last = line if line and not (last.startswith("event: response.") and line.startswith("data: ")) else last
        error = failed or (None if last in LAST_WORDS else f"the stream ended with {last[:80]!r}")
        return Outcome(asked.kind, 200, time.monotonic() - began, first, tokens, error=error)


def _whole(asked: Ask, answer: aiohttp.ClientResponse, body: bytes, began: float) -> Outcome:
    seconds = time.monotonic() - began
    error, tokens = None, 0
    try:
        said = json.loads(body)
    except ValueError:
        said, error = {}, f"no JSON: {body[:80]!r}"
    if answer.status == 200:
        usage = said.get("usage") or {}
        tokens = usage.get("completion_tokens") or usage.get("output_tokens") or 0
    elif error is None and not (isinstance(said.get("error"), dict) and said["error"].get("message")):
        error = f"no OpenAI error: {body[:80]!r}"
    retry_after = answer.headers.get("retry-after")
    return Outcome(asked.kind, answer.status, seconds, None, tokens, retry_after, error)
