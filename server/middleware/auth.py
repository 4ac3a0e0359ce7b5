"""API keys."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import ApiError, error_response
from server.paths import inner_path

#: probes carry no keys
OPEN_PATHS = ("/health", "/health/ready")


class ApiKeys:
    """Lets a request pass if it names one of the keys as its bearer token; /health and `also_open` are open to all."""

    def __init__(self, app: ASGIApp, keys: Iterable[str], also_open: Iterable[str] = ()) -> None:
        self._app = app
        self._open_paths = frozenset((*OPEN_PATHS, *also_open))
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._open(scope) or self._known(Headers(scope=scope).get("authorization", "")):
            await self._app(scope, receive, send)
            return
        refusal = ApiError(
            401,
            "Give a valid API key in the Authorization header, as 'Bearer KEY'.",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
        await error_response(refusal)(scope, receive, send)

    def _open(self, scope: Scope) -> bool:
        return inner_path(scope) in self._open_paths

    def _known(self, authorization: str) -> bool:
        """Compares with every key, in a time that says nothing of how near a guess was."""
        scheme, _, token = authorization.partition(" ")
        digest = _digest(token.strip().encode("latin-1"))
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return scheme.lower() == "bearer" and any(matches)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
