"""How many CPU threads a step gets: one or all, whichever is faster for steps of its size and is not being stalled."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch

T = TypeVar("T")

#: both sides are tried so often before they are compared; the least counts
FIRST_TRIES = 3
#: then the slower side is tried again after so many forwards
RETRY_EVERY = 64
#: weight of a new time
RATE = 0.2
#: a forward with all threads that takes so many times one thread's has been stalled by another process
STALL = 2.0
#: weight of a new forward in what stalls cost all threads on average
STALL_RATE = 1 / 32
#: times one thread's forward that a stall counts at most: a single long one says nothing of the next second
LONGEST_STALL = 4.0
#: seconds without all threads after a stall that was one too many; each further stall doubles them
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0


@dataclass
class _Side:
    """One thread, or all of them, at one size."""

    seconds: float = 0.0
    seen: int = 0

    def observe(self, seconds: float) -> None:
        self.seen += 1
        if self.seen <= FIRST_TRIES:
            self.seconds = seconds if self.seen == 1 else min(self.seconds, seconds)
        else:
            self.seconds += RATE * (seconds - self.seconds)


@dataclass
class _Size:
    """Forwards of about so many rows."""

    one: _Side = field(default_factory=_Side)
    every: _Side = field(default_factory=_Side)
    forwards: int = 0
    #: seconds that a forward with all threads loses to stalls, on average
    lost: float = 0.0

    def prefers_all(self) -> bool:
        self.forwards += 1
        if self.one.seen < FIRST_TRIES or self.every.seen < FIRST_TRIES:
            return self.one.seen >= FIRST_TRIES
        faster = self.every.seconds < self.one.seconds
        return faster if self.forwards % RETRY_EVERY else not faster

    def observe_all(self, seconds: float) -> bool:
        """A forward with all threads; returns whether it was stalled."""
        stalled = seconds > STALL * self.one.seconds
        excess = min(seconds, LONGEST_STALL * self.one.seconds) - self.every.seconds if stalled else 0.0
        self.lost += STALL_RATE * (excess - self.lost)
        if not stalled:
            self.every.observe(seconds)
        return stalled

    def stalls_too_much(self) -> bool:
        """Whether stalls take more than all threads gain."""
        return self.every.seconds + self.lost > self.one.seconds


class Threads:
    """Times forwards and gives each size, in octaves of rows, the better thread count.

    All threads meet at the end of every operator. If another process has one of the cores, they wait for each other
    and a step can take ten times as long, while for a few rows they gain little. So where stalls cost more than all
    threads gain, a stalled step is followed by a pause with one thread, longer each time. What all threads gain is
    judged by steps that were not stalled.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.most = most
        self._clock = clock
        self._sizes: dict[int, _Size] = {}
        self._pause = FIRST_PAUSE
        self._paused_until = float("-inf")

    def run(self, rows: int, forward: Callable[[], T]) -> T:
        """Call `forward` under the thread count for its size; torch keeps that count until the next call."""
        if self.most == 1:
            return forward()
        size = self._sizes.setdefault(rows.bit_length(), _Size())
        started = self._clock()
        with_all = started >= self._paused_until and size.prefers_all()
        torch.set_num_threads(self.most if with_all else 1)
        result = forward()
        self._observe(size, with_all, self._clock() - started)
        return result

    def _observe(self, size: _Size, with_all: bool, seconds: float) -> None:
        if not with_all:
            size.one.observe(seconds)
        elif not size.observe_all(seconds):
            self._pause = FIRST_PAUSE
        elif size.stalls_too_much():
            self._paused_until = self._clock() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
