"""Counts what an engine does and turns it into the snapshot that /metrics shows."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque

from engine.bounds import ITERATION_TOKENS, STEP_SECONDS
from engine.messages import EngineStats
from engine.strategies.base import DraftChoice
from engine.window import Window

#: seconds over which tokens per second are averaged
RATE_WINDOW = 5.0


class StatsRecorder:
    """Adds up steps, drafts and tokens since the engine started."""

    def __init__(self) -> None:
        self.totals = EngineStats()
        self.last_rows = 0
        self.totals.iteration_tokens = [0] * (len(ITERATION_TOKENS) + 1)
        self._recent: deque[tuple[float, int]] = deque()
        self._prompt_tokens_then = 0

    def step(self, windows: list[Window], seconds: float, tokens: int) -> None:
        """One forward over these windows that published so many tokens."""
        totals = self.totals
        now = time.monotonic()
        totals.steps += 1
        totals.step_seconds += seconds
        totals.last_step_time = time.time()
        totals.generation_tokens += tokens
        self.last_rows = sum(window.shape.rows for window in windows)
        kinds = {"decode" if window.decodes else "prefill" for window in windows}
        self._time("mixed" if len(kinds) > 1 else kinds.pop(), seconds)
        totals.rows += self.last_rows
        through = tokens + totals.prompt_tokens - self._prompt_tokens_then
        self._prompt_tokens_then = totals.prompt_tokens
        totals.iteration_tokens[bisect_left(ITERATION_TOKENS, through)] += 1
        self._recent.append((now, tokens))
        self._forget(now)

    def chose(self, choice: DraftChoice) -> None:
        """The policy's setting for the step."""
        k, groups = choice.draft_length, len(choice.groups)
        self.totals.draft_length, self.totals.predraft_groups = k, groups
        by_groups = self.totals.choices.setdefault(k, {})
        by_groups[groups] = by_groups.get(groups, 0) + 1

    def prefill(self, tokens: int) -> None:
        """So many prompt tokens went through the model."""
        self.totals.prompt_tokens += tokens

    def decode(self, window: Window, committed: int) -> None:
        """A decode window committed so many tokens; a denoising forward may commit none."""
        totals = self.totals
        totals.decode_forwards += 1
        totals.committed_tokens += committed
        totals.draft_tokens += window.drafted
        totals.cold_steps += window.drafted == 0 and bool(window.shape.predrafts)
        if not committed:
            return
        accepted = min(committed - 1, window.drafted)
        totals.accepted_tokens += accepted
        _extend(totals.acceptance_lengths, committed)
        totals.acceptance_lengths[committed - 1] += 1
        _extend(totals.accepted_per_position, accepted)
        for position in range(accepted):
            totals.accepted_per_position[position] += 1

    def tokens_per_second(self) -> float:
        """Generated tokens per second over the last few seconds."""
        now = time.monotonic()
        self._forget(now)
        if not self._recent:
            return 0.0
        return sum(tokens for _, tokens in self._recent) / RATE_WINDOW

    def _time(self, kind: str, seconds: float) -> None:
        totals = self.totals
        totals.forwards_by_kind[kind] = totals.forwards_by_kind.get(kind, 0) + 1
        totals.seconds_by_kind[kind] = totals.seconds_by_kind.get(kind, 0.0) + seconds
        counts = totals.step_times.setdefault(kind, [0] * (len(STEP_SECONDS) + 1))
        counts[bisect_left(STEP_SECONDS, seconds)] += 1

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0][0] < now - RATE_WINDOW:
            self._recent.popleft()


def _extend(counts: list[int], length: int) -> None:
    counts.extend([0] * (length - len(counts)))
