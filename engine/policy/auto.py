"""The setting that commits the most tokens per second, by measured step cost and observed acceptance."""

from __future__ import annotations

from collections import deque

from engine.policy.acceptance import Survival
from engine.policy.base import Load, Policy
from engine.policy.cost import StepCost
from engine.policy.fixed import likeliest
from engine.strategies.base import DraftChoice

#: a new setting must promise this much more than the present one
HYSTERESIS = 1.03
#: steps between decisions while the load stays; a new engine decides at every step until then
PERIOD = 16
#: every so many steps, a few are given to a rival, so that its cost and acceptance are known and not only assumed;
#: more often at first
PROBE_EVERY, PROBE_STEPS = 192, 4
FIRST_PROBES = 24
#: a rival is not tried again before so many others had their turn
TURNS = 8
#: a rival must promise at least this share of the present setting's rate; every fourth time less, since promises err
RIVAL, OUTSIDER = 0.85, 0.5
#: while plain AR is chosen and nothing comes near it, trying drafts may cost this share of the time
CURIOSITY = 0.01

AR = DraftChoice(1)


class AutoPolicy(Policy):
    """Maximises B·(E[a] + 1 - P_S) / (t(k + |S|k) + (1 - P_S)·t(1 + k)) over k and S, AR (k = 1) included.

    P_S is the probability that the realised acceptance length has its pre-draft group; if not, the next step is cold.
    """

    def __init__(self, draft_lengths: list[int], cost: StepCost, masks: bool = True) -> None:
        """`masks`: drafts come from pre-draft groups; if not, they come from beside the forward and S stays empty."""
        self.draft_lengths = sorted({1, *draft_lengths})
        self.cost = cost
        self.masks = masks
        self.survival = Survival(self.draft_lengths[-1])
        self.choice = AR
        self._rival = AR
        self._tried: deque[tuple[int, int]] = deque(maxlen=TURNS)
        self._probes = 0
        self._steps = 0
        self._drafted = 0
        self._stale = True
        self._next_probe = FIRST_PROBES
        self._sequences = 0

    def choose(self, load: Load, row_budget: int) -> DraftChoice:
        load = Load(max(1, load.sequences), load.keys)
        if self._stale or self._steps % PERIOD == 0 or load.sequences != self._sequences:
            self._decide(load, row_budget)
            self._sequences = load.sequences
            self._stale = self._steps < PERIOD
        self._steps += 1
        into = self._steps - self._next_probe
        if into == 0:
            self._rival = self._next_rival(load, row_budget)
        elif into == PROBE_STEPS:
            self._next_probe += self._interval()
        probing = 0 <= into < PROBE_STEPS and load.sequences * self._rival.rows <= row_budget
        choice = self._rival if probing else self.choice
        if choice == AR:
            self.survival.fade()
        else:
            self._drafted = self._steps
        return choice

    def observe_window(self, drafted: int, accepted: int) -> None:
        self._stale |= self.survival.observe(drafted, accepted)

    def observe_step(self, rows: int, load: Load, seconds: float) -> None:
        self.cost.observe(rows, load, seconds)

    def expected_rate(self, load: Load) -> float:
        return self.rate(self.choice, load) if load.sequences else 0.0

    def rate(self, choice: DraftChoice, load: Load) -> float:
        """Expected committed tokens per second of the whole batch."""
        sequences, k = load.sequences, choice.draft_length
        if k == 1:
            return sequences / self.cost(sequences, load)
        lengths = self.survival.lengths(k)
        cold = max(0.0, 1 - sum(lengths[a - 1] for a in choice.groups)) if self.masks else 0.0
        committed = sequences * (sum(a * p for a, p in enumerate(lengths, start=1)) + cold)
        if sequences == 1:
            return committed / (self.cost(choice.rows, load) + cold * self.cost(choice.cold_rows, load))
        # in a batch, warm and cold windows share their steps
        mean_rows = sequences * (choice.rows + cold * choice.cold_rows) / (1 + cold)
        return committed / ((1 + cold) * self.cost(mean_rows, load))

    def _decide(self, load: Load, row_budget: int) -> None:
        best = max(self._candidates(load, row_budget), key=lambda c: self.rate(c, load))
        # S follows the survival without ado; k and |S| only change where it pays
        same = _size(best) == _size(self.choice)
        fits = load.sequences * self.choice.rows <= row_budget
        if same or not fits or self.rate(best, load) > HYSTERESIS * self.rate(self.choice, load):
            self.choice = best

    def _next_rival(self, load: Load, row_budget: int) -> DraftChoice:
        """The most promising setting that was not tried of late; none (the present one) if all promise too little."""
        present = self.rate(self.choice, load)
        rates = {c: self.rate(c, load) for c in self._candidates(load, row_budget) if _size(c) != _size(self.choice)}
        self._probes += 1
        least = OUTSIDER if self._interval() == PROBE_EVERY and self._probes % 4 == 0 else RIVAL
        rivals = [c for c in rates if rates[c] >= least * present and _size(c) not in self._tried]
        if not rivals and self.choice == AR and rates:
            best = max(rates, key=lambda c: rates[c])
            if self._steps - self._drafted >= PROBE_STEPS * (present / rates[best] - 1) / CURIOSITY:
                rivals = [best]
        rival = max(rivals, key=lambda c: rates[c], default=self.choice)
        self._tried.append(_size(rival))
        return rival

    def _interval(self) -> int:
        return min(PROBE_EVERY, FIRST_PROBES * (1 + self._probes // 4))

    def _candidates(self, load: Load, row_budget: int) -> list[DraftChoice]:
        """AR, and for every k the likeliest groups, as many as the row budget allows."""
        candidates = [AR]
        for k in self.draft_lengths[1:]:
            lengths = self.survival.lengths(k)
            most = k if self.masks else 0
            drafts = [DraftChoice(k, likeliest(lengths, groups)) for groups in range(most + 1)]
            candidates += [c for c in drafts if load.sequences * c.rows <= row_budget]
        return candidates


def _size(choice: DraftChoice) -> tuple[int, int]:
    return choice.draft_length, len(choice.groups)
