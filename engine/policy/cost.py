"""What a step costs: seconds by its rows and load, measured at start-up and corrected while serving."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from math import inf

from engine.policy.base import Load

#: weight of a new observation in its own cell, and in the drift that all cells share
CELL_RATE, DRIFT_RATE = 0.02, 0.1
#: the share of the formula that a step costs at least
LEAST = 0.1
#: observations of a cell that say little yet
FEW = 3
#: observations after which a cell is trusted enough that what is left of its error counts as drift
SETTLED = 50
#: how far from what is expected a step counts, as a share: a single long one tells of the machine's other guests, and
#: must not make a setting look so dear that it is never tried again
MOST_ERROR = 0.5
#: a cell that was not seen for so many steps knows no more than so many observations tell: much may have changed
ABSENT, LEFT = 64, 1


@dataclass
class _Cell:
    """Steps of about so many sequences and rows: the seconds they take beyond the formula, before the drift."""

    extra: float = 0.0
    seen: int = 0
    #: the step in which it was seen last
    step: int = 0


@dataclass
class StepCost:
    """t = table(rows) + per_sequence·(sequences - 1) + per_key·keys + per_score·keys·rows / sequences, corrected.

    `table` is piecewise linear over measured rows of one sequence. Each (sequences, rows) cell, in octaves and half
    octaves, has an extra that follows observed steps; a common factor follows what slows or speeds them all. A cell
    that was not seen yet takes the extra of its neighbour in seconds, not as a share: what the formula misses is the
    work around the rows (windows, kinds of shapes, sampling, Python), and that hardly grows with them.
    """

    rows: list[int]
    seconds: list[float]
    per_sequence: float = 0.0
    per_key: float = 0.0
    per_score: float = 0.0
    drift: float = 1.0
    _steps: int = 0
    #: by sequences and then by rows
    _cells: dict[int, dict[int, _Cell]] = field(default_factory=dict)

    def __call__(self, rows: float, load: Load) -> float:
        """Seconds for a step of so many rows (all sequences together) under this load."""
        return self._corrected(self._formula(rows, load), self._extra(*self._key(rows, load)))

    def under(self, load: Load) -> Callable[[float], float]:
        """The same as a function of the rows, each asked for as often as one likes."""
        return cache(lambda rows: self(rows, load))

    def slope(self, low: float, high: float, load: Load) -> float:
        """Seconds a row, between steps of so many rows, by the formula and the drift alone: cells that were rarely
        seen would tell more of their noise than of rows."""
        return max(0.0, self._formula(high, load) - self._formula(low, load)) / (high - low) * self.drift

    def unless_seen(self, rows: float, load: Load) -> float:
        """The least that a step may take of which no more than two of its like were observed; infinity if they were."""
        sequences, half_octave = self._key(rows, load)
        cell = self._cells.get(sequences, {}).get(half_octave)
        return self._formula(rows, load) * self.drift if cell is None or cell.seen < FEW else inf

    def observe(self, rows: int, load: Load, seconds: float) -> None:
        """Learn from one step."""
        sequences, half_octave = self._key(rows, load)
        cells = self._cells.setdefault(sequences, {})
        cell = cells.get(half_octave)
        if cell is None:
            cell = cells[half_octave] = _Cell(self._extra(sequences, half_octave))
        self._steps += 1
        if self._steps - cell.step > ABSENT:
            cell.seen = min(cell.seen, LEFT)
        cell.step = self._steps
        expected = self._corrected(self._formula(rows, load), cell.extra)
        error = min(max(seconds / expected - 1, -MOST_ERROR), MOST_ERROR)
        cell.extra += max(CELL_RATE, 1 / (cell.seen + 2)) * error * expected / self.drift
        cell.seen += 1
        if cell.seen > SETTLED:
            self.drift *= 1 + DRIFT_RATE * error

    def _corrected(self, formula: float, extra: float) -> float:
        return max(formula + extra, LEAST * formula) * self.drift

    def _extra(self, sequences: int, rows: int) -> float:
        """The cell's own, or that of the nearest number of rows that was seen with as many sequences."""
        cells = self._cells.get(sequences)
        if not cells:
            return 0.0
        cell = cells.get(rows)
        return (cells[min(cells, key=lambda seen: abs(seen - rows))] if cell is None else cell).extra

    def _formula(self, rows: float, load: Load) -> float:
        keys = load.keys * (self.per_key + self.per_score * rows / load.sequences)
        return self._table(rows) + self.per_sequence * (load.sequences - 1) + keys

    def _table(self, rows: float) -> float:
        """Beyond the measured range a step grows in proportion."""
        measured, seconds = self.rows, self.seconds
        if rows >= measured[-1]:
            return seconds[-1] * rows / measured[-1]
        right = max(1, bisect_left(measured, rows))
        low, before = measured[right - 1], seconds[right - 1]
        return before + (seconds[right] - before) * (rows - low) / (measured[right] - low)

    @staticmethod
    def _key(rows: float, load: Load) -> tuple[int, int]:
        """Octave of the sequences, half octave of the rows: bit lengths, since logarithms cost more."""
        return load.sequences.bit_length(), int(rows * rows).bit_length()
