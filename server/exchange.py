"""One HTTP request from its first byte to its last, for the log, the traces and the figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import Scope

from server.paths import GENERATES, inner_path

if TYPE_CHECKING:
    from server.generation import Generation

#: of a client that closed its connection before its answer was complete
CLIENT_CLOSED = "client_closed_request"
#: nginx's number for it, where no status had been sent; it is only ever seen in logs and figures
CLIENT_CLOSED_REQUEST = 499
#: routes that machines ask all the time
PROBES = ("/health", "/health/ready", "/load", "/metrics")
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "POST")
#: a path or method that is none of this server's
OTHER = "other"


class Exchange:
    """Filled in on the way; `finish` hands it to everybody who wants to know, once.

    `began` is time.time() at its first byte, `seconds` its length, `error` the kind of failure if it failed.
    """

    def __init__(self, scope: Scope, sinks: Sequence[Callable[[Exchange], None]]) -> None:
        self._scope = scope
        self._sinks = sinks
        self._started = time.perf_counter()
        self.began = time.time()
        self.seconds = 0.0
        self.status = 0
        self.error: str | None = None
        self.trace_id: str | None = None
        self.generation: Generation | None = None
        #: whether something else than the HTTP answer ends it
        self.deferred = False

    @classmethod
    def of(cls, request: Request) -> Exchange:
        exchange = request.state.exchange
        assert isinstance(exchange, cls)
        return exchange

    @property
    def request_id(self) -> str:
        return str(self._scope.get("state", {}).get("request_id", ""))

    @property
    def method(self) -> str:
        """The HTTP method; one that no route knows is "other", so that there are few."""
        method = str(self._scope["method"])
        return method if method in METHODS else OTHER

    @property
    def path(self) -> str:
        return str(self._scope["path"])

    @property
    def client(self) -> str:
        address = self._scope.get("client")
        return f"{address[0]}:{address[1]}" if address else ""

    @property
    def headers(self) -> Headers:
        return Headers(scope=self._scope)

    @property
    def handler(self) -> str:
        """The route's path with its parameters' names, so that there are few.

        A request that was refused before any route saw it counts for the route it was meant for, if that generates.
        """
        route = self._scope.get("route")
        if route is None and inner_path(self._scope) in GENERATES:
            return inner_path(self._scope)
        return str(getattr(route, "path", OTHER))

    @property
    def probes(self) -> bool:
        """Whether it is a machine's question that was answered as usual."""
        return self.handler in PROBES and self.error is None

    def finish(self) -> None:
        """It is over: its answer has left, or what it began in the background has ended."""
        self.seconds = time.perf_counter() - self._started
        if self.error is None and self.generation is not None:
            self.error = self.generation.failure
        for sink in self._sinks:
            sink(self)


def note_error(scope: Scope, kind: str) -> None:
    """Write down how the exchange of this scope failed; a scope without one is a test's own."""
    exchange = scope.get("state", {}).get("exchange")
    if isinstance(exchange, Exchange):
        exchange.error = kind
