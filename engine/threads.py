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
#: then the slower side is tried again after so many forwards, or more, so that it costs this share of the time at most
RETRY_EVERY, TRYING = 64, 0.01
#: rows from which on one thread is not tried at once, but taken to be as many times slower as there are threads
MANY = 64
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
    #: whether the seconds are a guess, which those that are seen first replace
    guessed: bool = False

    def observe(self, seconds: float) -> None:
        self.seen += 1
        if self.guessed or self.seen == 1:
            self.seconds, self.guessed = seconds, False
        elif self.seen <= FIRST_TRIES:
            self.seconds = min(self.seconds, seconds)
        else:
            self.seconds += RATE * (seconds - self.seconds)

    @property
    def known(self) -> bool:
        return self.seen >= FIRST_TRIES


@dataclass
class _Size:
    """Forwards of about so many rows."""

    one: _Side = field(default_factory=_Side)
    every: _Side = field(default_factory=_Side)
    forwards: int = 0
    #: the forward in which the slower side was tried last
    tried: int = 0
    #: seconds that a forward with all threads loses to stalls, on average
    lost: float = 0.0
    #: one thread until then, and how long the next such pause is
    paused_until: float = float("-inf")
    pause: float = FIRST_PAUSE

    def prefers_all(self) -> bool:
        self.forwards += 1
        if not self.one.known:
            return False
        if not self.every.known:
            return True
        faster = self.every.seconds < self.one.seconds
        if self.forwards - self.tried < self._retry_every():
            return faster
        self.tried = self.forwards
        return not faster

    def _retry_every(self) -> float:
        low, high = sorted((self.one.seconds, self.every.seconds))
        return max(RETRY_EVERY, (high / low - 1) / TRYING)

    def observe_all(self, seconds: float, threads: int, now: float) -> None:
        """A forward with all threads, and a pause after it where it was stalled and stalls take more than they gain."""
        stalled = not self.one.guessed and seconds > STALL * self.one.seconds
        excess = min(seconds, LONGEST_STALL * self.one.seconds) - self.every.seconds if stalled else 0.0
        self.lost += STALL_RATE * (excess - self.lost)
        if not stalled:
            self.every.observe(seconds)
            self.pause = FIRST_PAUSE
            if self.one.guessed:
                self.one.seconds = threads * self.every.seconds
        elif self.every.seconds + self.lost > self.one.seconds:
            self.paused_until = now + self.pause
            self.pause = min(2 * self.pause, LONGEST_PAUSE)


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
        #: by octave
        self._sizes: dict[int, _Size] = {}

    def run(self, rows: int, forward: Callable[[], T]) -> T:
        """Call `forward` under the thread count for its size; torch keeps that count until the next call."""
        if self.most == 1:
            return forward()
        size = self._sizes.get(rows.bit_length())
        if size is None:
            one = _Side(seen=FIRST_TRIES, guessed=True) if rows >= MANY else _Side()
            size = self._sizes[rows.bit_length()] = _Size(one)
        started = self._clock()
        with_all = started >= size.paused_until and size.prefers_all()
        torch.set_num_threads(self.most if with_all else 1)
        result = forward()
        now = self._clock()
        if with_all:
            size.observe_all(now - started, self.most, now)
        else:
            size.one.observe(now - started)
        return result
