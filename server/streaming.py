"""Server-sent events: chunks as they come, comments while nothing comes, failures in OpenAI's shape."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.disconnect import ClientGoneError, while_connected
from server.errors import ApiError, error_response, internal_error
from server.exchange import CLIENT_CLOSED, CLIENT_CLOSED_REQUEST, note_error
from server.settings import StreamTimes

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"

logger = logging.getLogger("tidar.server")


def event(payload: bytes) -> bytes:
    """One SSE message holding a JSON document."""
    return b"data: " + payload + b"\n\n"


class EventStream(Response):
    """Streams `chunks`, JSON documents, as server-sent events and closes them whatever happens.

    Headers wait for the first chunk, so that an early failure still has its proper status; but no longer than
    `keep_alive` seconds, which is also the longest silence before a comment keeps the connection open. Chunks are made
    as fast as the client reads them; one that reads nothing for `client_timeout` seconds is taken for gone. With
    `framed` the chunks are events already, and say themselves which is the last.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        times: StreamTimes,
        headers: Mapping[str, str] | None = None,
        framed: bool = False,
    ) -> None:
        self.status_code = 200
        self.background = None
        self._chunks = chunks
        self._keep_alive = times.keep_alive
        self._client_timeout = times.client_timeout or None
        self._framed = framed
        self._started = False
        self._quiet = True
        self._sending = asyncio.Lock()
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._run(scope, receive, send))
        except ClientGoneError:
            note_error(scope, CLIENT_CLOSED)
            if not self._started:
                await Response(status_code=CLIENT_CLOSED_REQUEST)(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        heartbeat = asyncio.create_task(self._beat(send))
        try:
            async with aclosing(self._chunks):
                async for chunk in self._chunks:
                    await self._send(send, chunk if self._framed else event(chunk))
        except ClientGoneError:
            raise
        except Exception as error:
            heartbeat.cancel()
            failure = as_api_error(error)
            note_error(scope, failure.kind)
            if not self._started:
                await error_response(failure)(scope, receive, send)
                return
            await self._send(send, event(msgspec.json.encode(failure.body)))
        finally:
            heartbeat.cancel()
        if not self._framed:
            await self._send(send, DONE)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _beat(self, send: Send) -> None:
        while True:
            self._quiet = True
            await asyncio.sleep(self._keep_alive)
            if self._quiet:
                with contextlib.suppress(ClientGoneError):
                    await self._send(send, KEEP_ALIVE)

    async def _send(self, send: Send, data: bytes) -> None:
        async with self._sending:
            self._quiet = False
            if not self._started:
                self._started = True
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                async with asyncio.timeout(self._client_timeout):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            except TimeoutError:
                logger.warning("A client that read nothing for %g s is taken for gone.", self._client_timeout)
                raise ClientGoneError from None


def as_api_error(error: Exception) -> ApiError:
    """What the client is told of it; what nobody expected is logged."""
    if isinstance(error, ApiError):
        return error
    logger.error("A stream failed.", exc_info=error)
    return internal_error()
