"""Times work on a device: by its own events where it has them, and within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import torch

#: the most and the fewest repeats that one figure is the median of
MOST, FEWEST = 100, 3


def seconds_of(work: Callable[[], object], device: torch.device, budget: float = 0.08) -> float:
    """Median seconds of one call, after a first that does not count, in about `budget` seconds."""
    work()
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    once = time.perf_counter() - started
    repeats = min(MOST, max(FEWEST, int(budget / max(once, 1e-6))))
    return _by_events(work, repeats) if device.type == "cuda" else _by_clock(work, repeats)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _by_events(work: Callable[[], object], repeats: int) -> float:
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    marks[-1].synchronize()
    return median([float(a.elapsed_time(b)) for a, b in pairwise(marks)]) / 1000


def _by_clock(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


class Budget:
    """Seconds for the whole run, dealt out to sections; what one leaves is the next ones'."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self._section_end = self._end

    def begin(self, share: float) -> None:
        """A section that may take this share of what is left."""
        now = self._clock()
        self._section_end = now + share * max(0.0, self._end - now)

    @property
    def spent(self) -> bool:
        """Whether the section should measure nothing more."""
        return self._clock() >= self._section_end
