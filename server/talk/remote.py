"""A server as a terminal client sees it: its model, and answers that come chunk by chunk."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Any

import httpx

#: for a connection, and between two chunks: a server that answers sends a comment at least this often
CONNECT_SECONDS, SILENCE_SECONDS = 10.0, 120.0


class RemoteError(Exception):
    """The server refused, failed or cannot be reached; one sentence."""


class Remote:
    """Talks to one server; use as a context manager."""

    def __init__(self, url: str, api_key: str | None = None, uds: str | None = None) -> None:
        """`url` with or without /v1; with `uds` the connection goes to that Unix socket instead of the URL's host."""
        self.url = url.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        transport = httpx.HTTPTransport(uds=uds) if uds else None
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def healthy(self) -> bool:
        """Whether the server is up and has an engine."""
        try:
            return self._http.get("/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def card(self) -> dict[str, Any]:
        """What is served, as /v1/models says it. Raises RemoteError."""
        try:
            response = self._http.get("/v1/models")
            _check(response)
            return dict(response.json()["data"][0])
        except httpx.InvalidURL as error:
            raise RemoteError(f"{self.url} is no URL ({error}).") from None
        except httpx.HTTPError as error:
            raise RemoteError(f"There is no server at {self.url} ({error}); start one or leave out --url.") from None
        except (ValueError, LookupError, TypeError):
            raise RemoteError(f"What answers at {self.url} is no OpenAI-compatible server.") from None

    def stream(self, path: str, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The chunks of a streamed answer. Closing the iterator ends the request. Raises RemoteError."""
        try:
            with self._http.stream("POST", path, json={**body, "stream": True}) as response:
                if response.is_error:
                    response.read()
                _check(response)
                yield from _chunks(response.iter_lines())
        except httpx.HTTPError as error:
            raise RemoteError(f"The connection to {self.url} was lost ({error}).") from None


def _chunks(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line == "data: [DONE]":
            return
        if line.startswith("data: "):
            chunk = json.loads(line.removeprefix("data: "))
            if "error" in chunk:
                raise RemoteError(chunk["error"]["message"])
            yield chunk
    raise RemoteError("The server ended the stream before the answer was complete.")


def _check(response: httpx.Response) -> None:
    if not response.is_error:
        return
    try:
        message = response.json()["error"]["message"]
    except (ValueError, LookupError, TypeError):
        message = f"The server answered {response.status_code}."
    raise RemoteError(str(message))
