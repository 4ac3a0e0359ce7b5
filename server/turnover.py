"""How fast a full engine gets through its sequences."""

from __future__ import annotations

#: departures that count; older ones fade
MEMORY = 64
#: with fewer departures nothing is known yet
ENOUGH = 8


class Turnover:
    """Seconds per departure, measured only while others wait, since an engine with room to spare leaves no mark.

    Observe before every arrival: a queue that is there at both ends of an interval was then there all along.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._departed = 0.0
        self._seconds = 0.0
        self._last: tuple[float, int] | None = None

    def observe(self, finished: int, queued: bool, now: float) -> None:
        """So many sequences have left in all by `now` (monotonic, in seconds); `queued`: others still wait."""
        if self._last is not None and queued:
            seconds, departed = now - self._last[0], finished - self._last[1]
            self._seen += departed
            kept = (1 - 1 / MEMORY) ** departed
            self._departed = self._departed * kept + departed
            self._seconds = self._seconds * kept + seconds
        self._last = (now, finished) if queued else None

    def interrupt(self) -> None:
        """What goes by until the next observation says nothing of the pace."""
        self._last = None

    def seconds_for(self, sequences: int) -> float:
        """How long so many departures take; 0 while too few have been seen."""
        return sequences * self._seconds / self._departed if self._seen >= ENOUGH else 0.0
