"""Failures that nobody expected."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.logs import FIELDS
from server.errors import error_response, internal_error

logger = logging.getLogger("tidar.server")


class Failures:
    """Answers an exception with a 500 in OpenAI's shape and logs it with the request's id.

    Inside RequestId and CORS, so that the answer has their headers and a page may read it. One that comes after the
    answer has begun goes on to the HTTP server, which logs it and breaks the connection off.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_seen(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        except Exception as error:
            if started:
                raise
            fields = {"request_id": scope.get("state", {}).get("request_id")}
            logger.error("A request failed.", exc_info=error, extra={FIELDS: fields})
            await error_response(internal_error())(scope, receive, send)
