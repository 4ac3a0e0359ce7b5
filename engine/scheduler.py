"""Decides who takes part in the next step, with which window, and that its pages exist."""

from __future__ import annotations

import time
from bisect import insort
from collections import deque
from collections.abc import Iterator

from engine.cache.pages import PagePool, page_hash
from engine.policy.base import Load, StepChoice
from engine.policy.record import DraftRecord
from engine.sequence import Sequence
from engine.strategies.base import Strategy
from engine.window import Window


def _rank(sequence: Sequence) -> tuple[int, int]:
    """Lower runs first: priority, then age. The last in this order is preempted first."""
    return sequence.priority, sequence.order


class Scheduler:
    """Continuous batching over a page pool: sequences join and leave at any step.

    Every running sequence takes part in every step with at least one row; where windows cannot be cut, it may sit out
    one and is first in the next. What is left of the row budget goes to the rest of prompts and then to sequences that
    wait. Out of pages, the last in rank gives its pages back and is recomputed later.
    """

    def __init__(self, strategy: Strategy, pool: PagePool, max_num_seqs: int, max_num_batched_tokens: int) -> None:
        self.strategy = strategy
        self.pool = pool
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.preemptions = 0
        self.prefix_queries = 0
        self.prefix_hits = 0
        self._late: list[Sequence] = []
        self._arrivals = 0

    def __iter__(self) -> Iterator[Sequence]:
        yield from self.running
        yield from self.waiting

    def load(self) -> Load:
        """The sequences that run and what their prefixes add up to."""
        return Load(len(self.running), sum(sequence.prefix_len for sequence in self.running))

    def records(self) -> list[DraftRecord]:
        """How the drafts of the sequences that run have done."""
        return [sequence.record for sequence in self.running]

    def add(self, sequence: Sequence) -> None:
        self._arrivals += 1
        sequence.order = self._arrivals
        insort(self.waiting, sequence, key=_rank)

    def remove(self, sequence: Sequence) -> None:
        """Take a finished or aborted sequence out and give its pages back."""
        (self.running if sequence in self.running else self.waiting).remove(sequence)
        self._release(sequence)

    def schedule(self, choice: StepChoice) -> list[Window]:
        """Windows for the next step, pages reserved for all their clean rows."""
        windows: list[Window] = []
        budget = self.max_num_batched_tokens
        preempted = False
        turns = self._turns()
        while turns:
            sequence = turns[0]
            share = self._share(sequence, budget, len(turns) - 1)
            window = self.strategy.plan(sequence, choice.of(sequence.record), share) if share > 0 else None
            if window is None:
                self._late.append(turns.popleft())
            elif self.reserve(sequence, sequence.prefix_len + window.shape.clean):
                windows.append(window)
                budget -= window.shape.rows
                turns.popleft()
            else:
                budget += self._take_out(turns, windows)
                preempted = True
        if not preempted and not self._late:
            windows += self._admit(choice, budget)
        return windows

    def _turns(self) -> deque[Sequence]:
        """Who runs, in rank; but first those whose windows did not fit into the step before."""
        late, self._late = [sequence for sequence in self._late if sequence in self.running], []
        if not late:
            return deque(self.running)
        return deque(late + [sequence for sequence in self.running if sequence not in late])

    def _take_out(self, turns: deque[Sequence], windows: list[Window]) -> int:
        """Preempt the last sequence, whether or not it has had its turn; returns the rows its window was to take."""
        sequence = self.preempt_last()
        if sequence in turns:
            turns.remove(sequence)
            return 0
        index = next((i for i, window in enumerate(windows) if window.sequence is sequence), None)
        return 0 if index is None else windows.pop(index).shape.rows

    def commit(self, sequence: Sequence, kept: int) -> None:
        """`kept` more tokens of the sequence have their K/V in the cache; full pages become findable."""
        sequence.prefix_len += kept
        if not self.pool.prefix_caching:
            return
        size = self.pool.page_size
        for page in range(len(sequence.page_hashes), sequence.prefix_len // size):
            previous = sequence.page_hashes[-1] if sequence.page_hashes else b""
            digest = page_hash(previous, sequence.tokens[page * size : (page + 1) * size])
            sequence.page_hashes.append(digest)
            self.pool.register(sequence.pages[page], digest)

    def reserve(self, sequence: Sequence, tokens: int) -> bool:
        """Pages for so many tokens; False, and nothing taken, where the pool has too few."""
        missing = self.pool.pages_for(tokens) - len(sequence.pages)
        if missing > 0:
            pages = self.pool.allocate(missing)
            if pages is None:
                return False
            sequence.pages += pages
        return True

    def _share(self, sequence: Sequence, budget: int, later: int) -> int:
        """Rows this sequence may take: a decode at most its equal share, so that nobody after it starves.

        Where windows cannot be cut, it may take all, and whoever finds no room is the first in the next step.
        """
        if not self.strategy.divisible:
            return budget
        if sequence.decoding:
            return max(1, budget // (later + 1))
        return budget - later

    def _admit(self, choice: StepChoice, budget: int) -> list[Window]:
        windows: list[Window] = []
        while self.waiting and budget > 0 and len(self.running) < self.max_num_seqs:
            sequence = self.waiting[0]
            if not self._load(sequence):
                break
            window = self.strategy.plan(sequence, choice.of(sequence.record), budget)
            if window is None or not self.reserve(sequence, sequence.prefix_len + window.shape.clean):
                self._release(sequence)
                break
            del self.waiting[0]
            insort(self.running, sequence, key=_rank)
            sequence.scheduled_time = sequence.scheduled_time or time.monotonic()
            windows.append(window)
            budget -= window.shape.rows
        return windows

    def _load(self, sequence: Sequence) -> bool:
        """Take the cached pages of the sequence's start, if the rest of it would fit too."""
        size, pool = self.pool.page_size, self.pool
        pages: list[int] = []
        hashes: list[bytes] = []
        if pool.prefix_caching and sequence.params.prompt_logprobs is None:
            for start in range(0, self.strategy.settled(sequence) - size + 1, size):
                previous = hashes[-1] if hashes else b""
                hashes.append(page_hash(previous, sequence.tokens[start : start + size]))
            pages = pool.match(hashes)
        if pool.pages_for(len(sequence.tokens)) - len(pages) > pool.free:
            pool.release(pages)
            return False
        sequence.pages, sequence.page_hashes = pages, hashes[: len(pages)]
        sequence.prefix_len = len(pages) * size
        self.prefix_queries += len(sequence.tokens)
        self.prefix_hits += sequence.prefix_len
        if not sequence.preemptions:
            sequence.cached_tokens = sequence.prefix_len
        return True

    def preempt_last(self) -> Sequence:
        """The running sequence that is last in rank gives its pages back and waits to be recomputed."""
        sequence = self.running.pop()
        self._release(sequence)
        sequence.preempt()
        self.preemptions += 1
        insort(self.waiting, sequence, key=_rank)
        return sequence

    def _release(self, sequence: Sequence) -> None:
        self.pool.release(sequence.pages)
        sequence.pages = []
