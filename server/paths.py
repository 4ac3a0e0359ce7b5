"""Where a request goes, before any route has seen it."""

from __future__ import annotations

from starlette.types import Scope

#: routes whose answers cost the engine something
GENERATES = frozenset(("/v1/completions", "/v1/chat/completions", "/v1/responses"))


def inner_path(scope: Scope) -> str:
    """The path without the prefix that a proxy may have left on it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
