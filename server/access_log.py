"""One line per finished request: who asked what, how it went and what it took. Never a prompt, an answer or a query."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from engine.logs import FIELDS
from server.exchange import Exchange

logger = logging.getLogger("tidar.access")
#: what a path holds unquoted (RFC 3986)
SAFE = "/:@!$&'()*+,;="


class AccessLog:
    """Writes the line when an exchange is over; probes that were answered as usual leave none."""

    def __init__(self, model: str) -> None:
        self._model = model

    def __call__(self, exchange: Exchange) -> None:
        if exchange.probes:
            return
        level = logging.WARNING if exchange.status >= 500 else logging.INFO
        message = f"{exchange.method} {quote(exchange.path, safe=SAFE)} {exchange.status}"
        logger.log(level, "%s", message, extra={FIELDS: self._fields(exchange)})

    def _fields(self, exchange: Exchange) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "request_id": exchange.request_id,
            "method": exchange.method,
            "path": exchange.path,
            "status": exchange.status,
            "seconds": _rounded(exchange.seconds),
            "client": exchange.client,
            "error": exchange.error,
            "trace_id": exchange.trace_id,
        }
        if exchange.generation is not None:
            account = asdict(exchange.generation.account())
            fields |= {"model": self._model, **{name: _rounded(value) for name, value in account.items()}}
        return fields


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
