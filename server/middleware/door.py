"""Turns requests away before their body is read, while none can be let in."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import ApiError, error_response
from server.gate import Gate
from server.paths import GENERATES, inner_path


class Door:
    """Asks the gate whether one more sequence would be let in; a body that asks for several is asked about later."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and inner_path(scope) in GENERATES:
            try:
                self._gate.check()
            except ApiError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
