"""Who is let in: nobody while draining or without an engine, and no more than the queue gets through in time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.fleet import EngineFleet
from server.errors import ApiError, bad_request, unavailable
from server.metrics import ServerMetrics
from server.turnover import Turnover

#: the longest that anybody is told to stay away, in seconds
LONGEST_RETRY = 60


class Gate:
    """Admission of sequences; `draining` turns newcomers away while those inside finish.

    A newcomer is refused where the queue is full, or where the pace at which sequences leave says that it would wait
    longer than `max_queue_seconds` (0: however long). What is refused has cost neither tokenising nor a grammar.
    `clock` gives the seconds that the pace is measured in.
    """

    def __init__(
        self,
        engine: EngineFleet,
        metrics: ServerMetrics,
        max_queue_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._max_queue_seconds = max_queue_seconds
        self._clock = clock
        self._turnover = Turnover()
        self._preparing = 0
        self.draining = False

    def check_open(self) -> None:
        """Raises a 503 that says when to come again while nobody is let in. Ask before every arrival at the engine."""
        if self.draining or not self._engine.healthy:
            self._turnover.interrupt()
        if self.draining:
            raise unavailable("The server is shutting down; send the request elsewhere.", "shutting_down")
        if not self._engine.healthy:
            raise unavailable("The engine is being restarted; send the request again soon.", "engine_restarting", 2)
        self._turnover.observe(self._metrics.finished.total(), self._engine.waiting > 0, self._clock())

    def check(self, sequences: int = 1) -> None:
        """Raises a 503 or 429 that says when to come again, or a 400 for more sequences than could ever be held."""
        self.check_open()
        if sequences > self._engine.most_places:
            raise bad_request(
                f"The request asks for {sequences} sequences at once, but the server holds {self._engine.most_places}.",
                "n",
            )
        inside = self._engine.in_flight + self._preparing
        seconds, places = self._expected_wait(), self._engine.places
        if inside + sequences > places:
            room = self._turnover.seconds_for(inside + sequences - places)
            raise _full(f"The queue is full with {inside} sequences; send the request again soon.", room)
        if 0 < self._max_queue_seconds < seconds:
            raise _full(
                f"The request would wait for about {seconds:.0f} s, longer than the {self._max_queue_seconds:g} s this "
                "server lets requests wait; send it again later.",
                seconds - self._max_queue_seconds,
            )

    @contextmanager
    def place(self, sequences: int) -> Iterator[None]:
        """Holds places for a request that is being prepared; the engine counts it afterwards. Raises as `check`."""
        self.check(sequences)
        self._preparing += sequences
        try:
            yield
        finally:
            self._preparing -= sequences

    async def drain(self, timeout: float) -> None:
        """Let nobody in any more, wait for those inside up to `timeout` seconds, then end what still runs."""
        self.draining = True
        deadline = time.monotonic() + timeout
        while self._engine.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self._engine.abort_all()

    def _expected_wait(self) -> float:
        """Seconds that a newcomer would wait for its first forward, by the pace of late; 0 where nobody waits."""
        beyond = self._engine.in_flight + self._preparing - self._engine.seats
        return self._turnover.seconds_for(max(0, beyond, self._engine.waiting))


def _full(message: str, seconds: float) -> ApiError:
    retry = min(LONGEST_RETRY, max(1, math.ceil(seconds)))
    return ApiError(429, message, code="queue_full", headers={"Retry-After": str(retry)})
