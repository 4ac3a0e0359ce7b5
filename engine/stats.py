"""Counts what an engine does and turns it into the snapshot that /metrics shows."""

from __future__ import annotations

import time
from collections import deque

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
        self._recent: deque[tuple[float, int]] = deque()

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
        kind = "mixed" if len(kinds) > 1 else kinds.pop()
        totals.forwards_by_kind[kind] = totals.forwards_by_kind.get(kind, 0) + 1
        self._recent.append((now, tokens))
        self._forget(now)

    def chose(self, choice: DraftChoice) -> None:
        """The policy's setting for the step."""
        self.totals.draft_length, self.totals.predraft_groups = choice.draft_length, len(choice.groups)

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
        totals.accepted_tokens += committed - 1
        _extend(totals.acceptance_lengths, committed)
        totals.acceptance_lengths[committed - 1] += 1
        _extend(totals.accepted_per_position, committed - 1)
        for position in range(committed - 1):
            totals.accepted_per_position[position] += 1

    def tokens_per_second(self) -> float:
        """Generated tokens per second over the last few seconds."""
        now = time.monotonic()
        self._forget(now)
        if not self._recent:
            return 0.0
        return sum(tokens for _, tokens in self._recent) / RATE_WINDOW

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0][0] < now - RATE_WINDOW:
            self._recent.popleft()


def _extend(counts: list[int], length: int) -> None:
    counts.extend([0] * (length - len(counts)))
