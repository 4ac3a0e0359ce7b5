"""What a step costs: seconds as a function of its rows, measured at start-up and corrected while serving."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable

PROBED_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PROBE_SECONDS = 1.0
REPEATS = 3
#: weight of a new observation; small, since steps are noisy
LEARNING_RATE = 0.05


class StepCost:
    """Piecewise linear step time over the number of rows in the flat batch."""

    def __init__(self, rows: list[int], seconds: list[float]) -> None:
        self.rows = rows
        self.seconds = seconds

    @classmethod
    def measure(cls, max_rows: int, step: Callable[[int], float]) -> StepCost:
        """Time `step(rows) -> seconds` at powers of two up to max_rows, within about PROBE_SECONDS in all.

        The least of a few repeats counts, since whatever else the machine does only adds. On a busy machine larger
        steps stay unmeasured and are taken to cost in proportion; observed steps correct them.
        """
        started = time.perf_counter()
        step(1)
        rows: list[int] = []
        seconds: list[float] = []
        for count in PROBED_ROWS:
            if count > max_rows or (len(rows) > 1 and time.perf_counter() - started > PROBE_SECONDS):
                break
            rows.append(count)
            seconds.append(min(step(count) for _ in range(REPEATS)))
        return cls(rows, seconds)

    def __call__(self, rows: int) -> float:
        """Seconds for a step of so many rows; beyond the measured range it grows in proportion."""
        if rows >= self.rows[-1]:
            return self.seconds[-1] * rows / self.rows[-1]
        right = max(1, bisect_left(self.rows, rows))
        low, high = self.rows[right - 1], self.rows[right]
        share = (rows - low) / (high - low)
        return self.seconds[right - 1] * (1 - share) + self.seconds[right] * share

    def observe(self, rows: int, seconds: float) -> None:
        """Pull the nearest measured point towards what a step of these rows really took."""
        nearest = min(range(len(self.rows)), key=lambda i: abs(self.rows[i] - rows))
        ratio = seconds / self(rows)
        self.seconds[nearest] *= 1 + LEARNING_RATE * (min(max(ratio, 0.25), 4.0) - 1)
