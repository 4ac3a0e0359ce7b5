"""Reading server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx


def read_events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """JSON documents of a stream, which has to end with [DONE]."""
    done = False
    for line in lines:
        assert not (done and line), f"something follows [DONE]: {line}"
        if line.startswith("data: "):
            done = line == "data: [DONE]"
            if not done:
                yield json.loads(line.removeprefix("data: "))
    assert done, "the stream ended without [DONE]"


def stream(url: str, body: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    """All chunks of a streamed request that has to begin well."""
    with httpx.stream("POST", url, json={**body, "stream": True}, timeout=60, **options) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(read_events(response.iter_lines()))
