"""Who is let in: nobody while draining or without an engine, and no more than the queue holds."""

from __future__ import annotations

import asyncio
import time

from engine.fleet import EngineFleet
from server.errors import ApiError, bad_request, unavailable


class Gate:
    """Admission of sequences; `draining` turns newcomers away while those inside finish."""

    def __init__(self, engine: EngineFleet) -> None:
        self._engine = engine
        self.draining = False

    def admit(self, sequences: int) -> None:
        """Raises a 503 or 429 that says when to come again, or a 400 for more sequences than could ever be held."""
        if self.draining:
            raise unavailable("The server is shutting down; send the request elsewhere.", "shutting_down")
        if not self._engine.healthy:
            raise unavailable("The engine is being restarted; send the request again soon.", "engine_restarting", 2)
        if sequences > self._engine.most_places:
            raise bad_request(
                f"The request asks for {sequences} sequences at once, but the server holds {self._engine.most_places}.",
                "n",
            )
        if self._engine.in_flight + sequences > self._engine.places:
            raise ApiError(
                429,
                f"The queue is full with {self._engine.in_flight} sequences; send the request again soon.",
                code="queue_full",
                headers={"Retry-After": "1"},
            )

    async def drain(self, timeout: float) -> None:
        """Let nobody in any more, wait for those inside up to `timeout` seconds, then end what still runs."""
        self.draining = True
        deadline = time.monotonic() + timeout
        while self._engine.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self._engine.abort_all()
