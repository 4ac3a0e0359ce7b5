"""The setting that commits the most tokens per second, by measured step cost and observed acceptance."""

from __future__ import annotations

from engine.policy.acceptance import Survival
from engine.policy.base import Policy
from engine.policy.cost import StepCost
from engine.policy.fixed import likeliest
from engine.strategies.base import DraftChoice

#: a new setting must promise this much more than the present one
HYSTERESIS = 1.05
#: steps between decisions
PERIOD = 16
#: while plain AR is chosen, this share of steps still drafts, to notice when drafts begin to pay
PROBE_EVERY = 256
PROBE_STEPS = 4


class AutoPolicy(Policy):
    """Maximises B·(E[a] + 1 - P_S) / (t(k + |S|k) + (1 - P_S)·t(1 + k)) over k and S, AR (k = 1) included.

    P_S is the probability that the realised acceptance length has its pre-draft group; if not, the next step is cold.
    """

    def __init__(self, draft_lengths: list[int], cost: StepCost) -> None:
        self.draft_lengths = sorted({1, *draft_lengths})
        self.cost = cost
        self.survival = Survival(self.draft_lengths[-1])
        self.choice = DraftChoice(1)
        self._steps = 0
        self._sequences = 0

    def choose(self, sequences: int, row_budget: int) -> DraftChoice:
        if self._steps % PERIOD == 0 or sequences != self._sequences:
            self._decide(max(1, sequences), row_budget)
            self._sequences = sequences
        self._steps += 1
        if self.choice.draft_length == 1 and self._steps % PROBE_EVERY < PROBE_STEPS:
            return self._best(2, max(1, sequences), row_budget)
        return self.choice

    def observe_window(self, drafted: int, accepted: int) -> None:
        self.survival.observe(drafted, accepted)

    def observe_step(self, rows: int, seconds: float) -> None:
        self.cost.observe(rows, seconds)

    def rate(self, choice: DraftChoice, sequences: int) -> float:
        """Expected committed tokens per second of the whole batch."""
        k = choice.draft_length
        if k == 1:
            return sequences / self.cost(sequences)
        lengths = self.survival.lengths(k)
        expected = sum(a * p for a, p in enumerate(lengths, start=1))
        warm = sum(lengths[a - 1] for a in choice.groups)
        seconds = self.cost(sequences * choice.rows) + (1 - warm) * self.cost(sequences * choice.cold_rows)
        return sequences * (expected + 1 - warm) / seconds

    def _decide(self, sequences: int, row_budget: int) -> None:
        best = self._best(1, sequences, row_budget)
        fits = sequences * self.choice.rows <= row_budget
        if not fits or self.rate(best, sequences) > HYSTERESIS * self.rate(self.choice, sequences):
            self.choice = best

    def _best(self, shortest: int, sequences: int, row_budget: int) -> DraftChoice:
        candidates = [
            DraftChoice(k, likeliest(self.survival.lengths(k), groups))
            for k in self.draft_lengths
            if k >= shortest
            for groups in range(k + 1 if k > 1 else 1)
        ]
        fitting = [c for c in candidates if sequences * c.rows <= row_budget] or [DraftChoice(1)]
        return max(fitting, key=lambda c: self.rate(c, sequences))
