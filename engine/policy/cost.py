"""What a step costs: seconds as a function of its rows, measured at start-up and corrected while serving."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

#: weight of a new observation; small, since steps are noisy
LEARNING_RATE = 0.05


class StepCost:
    """Piecewise linear step time over the number of rows in the flat batch."""

    def __init__(self, rows: list[int], seconds: list[float]) -> None:
        self.rows = rows
        self.seconds = seconds

    @classmethod
    def measure(cls, max_rows: int, step: Callable[[int], float], repeats: int = 5) -> StepCost:
        """Time `step(rows) -> seconds` at powers of two up to max_rows; the median of a few repeats each."""
        rows = [1, 2, 4, 8, 16, 32, 64, 128, 256]
        rows = [n for n in rows if n <= max_rows]
        step(rows[-1])
        return cls(rows, [sorted(step(n) for _ in range(repeats))[repeats // 2] for n in rows])

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
