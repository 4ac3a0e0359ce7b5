"""Learning rate over a run: warm up, stay, then decay linearly, by tokens or by the clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """When a run ends: after `tokens` clean tokens or `minutes` of training, whichever comes first."""

    tokens: int | None = None
    minutes: float | None = None

    def progress(self, tokens: int, seconds: float) -> float:
        """Share of the budget that is used, 0..1; a run without a budget never ends."""
        shares = [0.0]
        if self.tokens is not None:
            shares.append(tokens / self.tokens)
        if self.minutes is not None:
            shares.append(seconds / (60 * self.minutes))
        return min(1.0, max(shares))


@dataclass(frozen=True)
class Schedule:
    """Warm-up by steps, a plateau, and a linear decay to `floor` over the last `decay` share of the budget."""

    warmup_steps: int = 50
    decay: float = 0.4
    floor: float = 0.02

    def factor(self, step: int, progress: float) -> float:
        """Factor on the peak learning rate at `step` (0-based), with `progress` of the budget used."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = 1.0 - progress
        cooled = 1.0 if left >= self.decay else max(self.floor, left / self.decay)
        return warm * cooled
