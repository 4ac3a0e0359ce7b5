"""Several tokens per step, yet an even stream: a step's tokens leave one by one over the time a step takes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator

from server.transcript import Delta

#: weight of the last step in the expected time of the next
LATEST = 0.3
#: deltas that may wait for a slow client
READ_AHEAD = 16
#: no token is held longer than this, in seconds
PATIENCE = 0.5


class _Lane:
    """One choice: its tokens that wait for their time, and how long its steps take."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[float, Delta]] = deque()
        self._last: float | None = None
        self._step = 0.0

    def arrive(self, delta: Delta, now: float) -> None:
        """Spread a step's tokens from now on; those of the step before are due at once."""
        if self._last is not None:
            step = min(now - self._last, PATIENCE)
            self._step = step if not self._step else (1 - LATEST) * self._step + LATEST * step
        self._last = now
        self.waiting = deque((now, held) for _, held in self.waiting)
        parts = delta.split()
        self.waiting.extend((now + self._step * i / len(parts), part) for i, part in enumerate(parts))


async def smoothed(deltas: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
    """The same deltas, one token each, in order within a choice. What fails, fails after all that came before it."""
    arrivals: asyncio.Queue[tuple[float, Delta | None]] = asyncio.Queue(READ_AHEAD)
    pump = asyncio.create_task(_pump(deltas, arrivals))
    lanes: dict[int, _Lane] = {}
    open_ended = True
    try:
        while open_ended or any(lane.waiting for lane in lanes.values()):
            lane = min((lane for lane in lanes.values() if lane.waiting), key=_due, default=None)
            due = None if lane is None else max(0.0, _due(lane) - time.monotonic())
            if lane is not None and due == 0.0:
                yield lane.waiting.popleft()[1]
                continue
            arrival = await _next(arrivals, due)
            if arrival is None:
                continue
            now, delta = arrival
            if delta is None:
                open_ended = False
            else:
                lanes.setdefault(delta.index, _Lane()).arrive(delta, now)
        await pump
    finally:
        pump.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await pump
        await deltas.aclose()


async def _pump(deltas: AsyncGenerator[Delta, None], arrivals: asyncio.Queue[tuple[float, Delta | None]]) -> None:
    try:
        async for delta in deltas:
            await arrivals.put((time.monotonic(), delta))
    except Exception:
        await arrivals.put((time.monotonic(), None))
        raise
    await arrivals.put((time.monotonic(), None))


async def _next(
    arrivals: asyncio.Queue[tuple[float, Delta | None]], seconds: float | None
) -> tuple[float, Delta | None] | None:
    """The next arrival, or None after so many seconds without one."""
    try:
        return await asyncio.wait_for(arrivals.get(), seconds)
    except TimeoutError:
        return None


def _due(lane: _Lane) -> float:
    return lane.waiting[0][0]
