"""Finding stop strings in text that arrives in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Shows text as early as it can: only what may be the beginning of a stop string is held back.

    The match is the one that a reader going character by character meets first; of two that end together, the longer.
    So where the text is cut does not depend on how it was divided into pieces.
    """

    def __init__(self, stops: Sequence[str], include_match: bool = False) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, stops), default=0)
        self._include_match = include_match
        self._held = ""
        self.match: str | None = None

    def push(self, text: str) -> str:
        """Take the next piece and return what may be shown; once `match` is set there is no more to show."""
        if not self._stops or self.match is not None:
            return "" if self.match is not None else text
        self._held += text
        if (found := self._first_match()) is not None:
            start, self.match = found
            end = start + len(self.match)
            shown, self._held = self._held[: end if self._include_match else start], ""
            return shown
        keep = self._possible_beginning()
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def flush(self) -> str:
        """What was held back, when no more text will come."""
        shown, self._held = self._held, ""
        return shown

    def _first_match(self) -> tuple[int, str] | None:
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if not found:
            return None
        _, start, stop = min(found)
        return start, stop

    def _possible_beginning(self) -> int:
        """Length of the longest tail that is a proper beginning of a stop string."""
        for length in range(min(len(self._held), self._longest - 1), 0, -1):
            tail = self._held[-length:]
            if any(len(stop) > length and stop.startswith(tail) for stop in self._stops):
                return length
        return 0
