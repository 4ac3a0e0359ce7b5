"""Follows every HTTP request from its first byte to its last."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.exchange import Exchange


class Exchanges:
    """Puts an Exchange into the request's state and ends it; the outermost of all, so that it sees every answer."""

    def __init__(self, app: ASGIApp, sinks: Sequence[Callable[[Exchange], None]]) -> None:
        self._app = app
        self._sinks = sinks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, self._sinks)
        scope.setdefault("state", {})["exchange"] = exchange

        async def send_seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        except Exception:
            exchange.status, exchange.error = exchange.status or 500, "internal_error"
            raise
        finally:
            if not exchange.deferred:
                exchange.finish()
