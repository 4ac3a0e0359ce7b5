"""The setting that commits the most tokens per second, by measured step cost and observed acceptance."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from engine.policy.acceptance import Survival, outcomes
from engine.policy.base import Load, Policy, StepChoice
from engine.policy.classes import RequestClasses
from engine.policy.comparison import Comparison
from engine.policy.cost import StepCost
from engine.policy.fixed import likeliest
from engine.policy.mix import promise
from engine.policy.record import DraftRecord
from engine.policy.refinement import Refinement
from engine.policy.scouts import Scouts
from engine.strategies.base import DraftChoice

#: a new setting must promise this much more than the present one
HYSTERESIS = 1.03
#: steps between decisions while the load stays, and later, after so many steps, when less is new; a new engine decides
#: at every step for the first period
PERIOD, LATER_PERIOD, LATER = 16, 64, 512
#: the share of its sequences by which a load may change without a decision of its own
OUTGROWN = 0.34
#: steps between decisions for classes of requests, which take longer
CLASSES_PERIOD, LATER_CLASSES_PERIOD = 32, 128
#: every so many steps, a few (cold and warm) are given to a rival, so that its cost and acceptance are known and not
#: only assumed; more often at first, and while a rival comes close, which costs little and has to be known better
PROBE_EVERY, PROBE_STEPS, FIRST_STEPS = 192, 4, 8
FIRST_PROBES, CLOSE_PROBES = 24, 96
CLOSE = 0.92
#: of which the first say nothing of what they cost: another setting's numbers are still in the caches
COLD_STEPS = 2
#: a rival is not tried again before so many others had their turn
TURNS = 3
#: a rival must promise at least this share of the present setting's rate; every fourth time less, since promises err
RIVAL, OUTSIDER = 0.85, 0.5
#: while plain AR is chosen and nothing comes near it, trying drafts may cost this share of the time
CURIOSITY = 0.02

AR = DraftChoice(1)


class AutoPolicy(Policy):
    """Maximises B·(E[a] + 1 - P_S) / (t(k + |S|k) + (1 - P_S)·t(1 + k)) over k and S, AR (k = 1) included.

    P_S is the probability that the realised acceptance length has its pre-draft group; if not, the next step is cold.
    That is one setting for all, by what drafts come to on average; where the last forward's hints tell more of a
    sequence's own drafts, its window is refined.
    """

    def __init__(self, draft_lengths: list[int], cost: StepCost, masks: bool = True) -> None:
        """`masks`: drafts come from pre-draft groups; if not, they come from beside the forward and S stays empty."""
        self.draft_lengths = sorted({1, *draft_lengths})
        self.cost = cost
        self.masks = masks
        self.survival = Survival(self.draft_lengths[-1])
        self.classes = RequestClasses(self.draft_lengths, self.survival)
        self.refinement = Refinement(self.draft_lengths[-1])
        self._learns_each = masks and len(self.draft_lengths) > 1
        #: those for which the step that was chosen counts
        self._compared: list[Comparison] = []
        self.choice = AR
        self._together = StepChoice(AR)
        #: decisions so far, and the one that the windows' prices rest on
        self._decided = 0
        self._priced = 0
        #: everybody's share of right drafts at the last decision
        self._usual = self.classes.usual
        #: whether steps like the last decision's leave time for refining
        self._affordable = False
        self._rival = AR
        self._probing = False
        #: that the step's windows have committed
        self._tokens = 0
        self._tried: deque[tuple[int, int]] = deque(maxlen=TURNS)
        self._probes = 0
        self._close = False
        self._steps = 0
        self._drafted = 0
        self._stale = True
        self._next_probe = FIRST_PROBES
        self._sequences = 0
        self.scouts = Scouts(DraftChoice(self.draft_lengths[min(1, len(self.draft_lengths) - 1)]), cost, CURIOSITY)
        #: whether the step that was chosen has some
        self._scouting = False

    def choose(self, load: Load, row_budget: int) -> DraftChoice:
        if not load.sequences:
            load = Load(1, load.keys)
        self._tokens, self._scouting = 0, False
        period = PERIOD if self._steps < LATER else LATER_PERIOD
        if self._stale or self._steps % period == 0 or self._outgrown(load, row_budget):
            self._decide(load, row_budget)
            self._sequences = load.sequences
            self._stale = self._steps < PERIOD
        self._steps += 1
        into = self._steps - self._next_probe
        if into == 0:
            self._rival = self._next_rival(load, row_budget)
        elif into >= (FIRST_STEPS if self._close and self._steps < LATER else PROBE_STEPS):
            self._next_probe = self._steps + self._interval()
            into = -1
        self._probing = into >= 0 and load.sequences * self._rival.rows <= row_budget
        choice = self._rival if self._probing else self.choice
        if choice == AR:
            self.survival.fade()
        else:
            self._drafted = self._steps
        return choice

    def choose_each(self, load: Load, row_budget: int, records: Sequence[DraftRecord]) -> StepChoice:
        common = self.choose(load, row_budget)
        self._compared.clear()
        self.wants_hints = False
        if not self._learns_each or not load.sequences:
            return self._for_all(common)
        alone = load.sequences == 1
        if not alone and self._steps % (CLASSES_PERIOD if self._steps < LATER else LATER_CLASSES_PERIOD) == 0:
            self.classes.decide(records, self.choice, self._settings, self.cost.under(load), row_budget)
        if self._probing and self._rival != self.choice:
            return self._for_all(common)
        classes: tuple[DraftChoice, ...] = ()
        if not alone and self.classes.settings:
            self._compared.append(self.classes.comparison)
            classes = self.classes.now()
        elif common == AR:
            scouts = () if alone else self.scouts.among(records, self._steps, load)
            self._scouting = bool(scouts)
            return StepChoice(common, scouts=scouts, scouting=self.scouts.setting) if scouts else self._for_all(common)
        if self._affordable:
            self._compared.append(self.refinement.comparison)
            self.wants_hints = self.refinement.comparison.apart()
        if not self.wants_hints:
            return StepChoice(common, classes, self._usual) if classes else self._for_all(common)
        self._set_prices(common, load)
        return StepChoice(common, classes, self._usual, refined=self._refined)

    def observe_window(self, drafted: int, accepted: int, record: DraftRecord) -> None:
        self._tokens += accepted + 1
        if not drafted and record.hint is None:
            # plain decoding, of which a large batch has many windows
            record.fade()
            return
        left_out = self.refinement.judge(record, drafted, accepted, self._usual)
        self.classes.observe(record, drafted, accepted, left_out, self._usual)
        self._stale |= self.survival.observe(drafted, accepted, left_out)

    def observe_step(self, rows: int, load: Load, seconds: float) -> None:
        if self._scouting:
            self.scouts.observe(load, seconds)
        elif not self._probing or self._steps - self._next_probe >= COLD_STEPS:
            self.cost.observe(rows, load, seconds)
        for comparison in self._compared:
            comparison.observe(self._tokens, seconds)

    def expected_rate(self, load: Load) -> float:
        return self.rate(self.choice, load) if load.sequences else 0.0

    def rate(self, choice: DraftChoice, load: Load) -> float:
        """Expected committed tokens per second of the whole batch."""
        lengths = self.survival.lengths(choice.draft_length)
        return self._rate(choice, load.sequences, lengths, lambda rows: self.cost(rows, load))

    def _rate(self, choice: DraftChoice, sequences: int, lengths: list[float], cost: Callable[[float], float]) -> float:
        """The same where acceptance lengths have these probabilities and so many rows this cost in seconds."""
        if choice.draft_length == 1:
            return sequences / cost(sequences)
        promised = promise(choice, lengths, self.masks)
        if sequences > 1:
            # in a batch, warm and cold windows share their steps
            return sequences * promised.tokens / cost(sequences * promised.rows)
        cycle = cost(choice.rows) + promised.cold * cost(choice.cold_rows)
        return (1 + promised.cold) * promised.tokens / cycle

    def _for_all(self, common: DraftChoice) -> StepChoice:
        """The same step's choice again while the setting stays, since making one takes long."""
        if self._together.common != common:
            self._together = StepChoice(common)
        return self._together

    def _refined(self, record: DraftRecord, choice: DraftChoice) -> DraftChoice:
        return self.refinement.refine(record, choice, self._usual)

    def _set_prices(self, common: DraftChoice, load: Load) -> None:
        """Once after every decision, since a decision is what they rest on."""
        if self._priced != self._decided:
            self._priced = self._decided
            promised = promise(common, self.survival.lengths(common.draft_length))
            self.refinement.prepare(promised, self.rate(common, load), self.cost, load)

    def _outgrown(self, load: Load, row_budget: int) -> bool:
        """Whether the load is no longer what was decided for; one sequence of many more or less can wait."""
        changed = abs(load.sequences - self._sequences)
        return changed > OUTGROWN * self._sequences or (changed > 0 and load.sequences * self.choice.rows > row_budget)

    def _decide(self, load: Load, row_budget: int) -> None:
        self._decided += 1
        self._usual = self.classes.usual
        self._affordable = self.refinement.affordable(self.cost(load.sequences, load), load)
        rates = self._rates(load, row_budget)
        best = max(rates, key=lambda choice: rates[choice])
        # S follows the survival without ado; k and |S| only change where it pays
        same = _size(best) == _size(self.choice)
        fits = load.sequences * self.choice.rows <= row_budget
        if same or not fits or rates[best] > HYSTERESIS * self.rate(self.choice, load):
            self.choice = best

    def _next_rival(self, load: Load, row_budget: int) -> DraftChoice:
        """The most promising setting that was not tried of late; none (the present one) if all promise too little.

        Plain decoding comes first where its steps were not seen under such a load and may be short enough, and has
        every fourth turn unless it is hopeless: nothing may be slower than plain decoding, so what that costs is not
        left to a guess, nor to what it cost long ago.
        """
        present = self.rate(self.choice, load)
        if self.choice != AR:
            unseen = load.sequences >= RIVAL * present * self.cost.unless_seen(load.sequences, load)
            if unseen or (self._probes % 4 == 1 and self.rate(AR, load) >= OUTSIDER * present):
                self._probes += not unseen
                return AR
        rates = {c: rate for c, rate in self._rates(load, row_budget).items() if _size(c) != _size(self.choice)}
        self._probes += 1
        least = OUTSIDER if self._interval() == PROBE_EVERY and self._probes % 4 == 0 else RIVAL
        rivals = [c for c in rates if rates[c] >= least * present and _size(c) not in self._tried]
        if not rivals and self.choice == AR and rates:
            best = max(rates, key=lambda c: rates[c])
            if self._steps - self._drafted >= PROBE_STEPS * (present / rates[best] - 1) / CURIOSITY:
                rivals = [best]
        rival = max(rivals, key=lambda c: rates[c], default=self.choice)
        self._close = rival != self.choice and rates[rival] >= CLOSE * present
        self._tried.append(_size(rival))
        return rival

    def _interval(self) -> int:
        return min(CLOSE_PROBES if self._close else PROBE_EVERY, FIRST_PROBES * (1 + self._probes // 4))

    def _rates(self, load: Load, row_budget: int) -> dict[DraftChoice, float]:
        """What plain decoding promises, and for every k the likeliest groups, as many as the row budget allows."""
        conditional = self.survival.conditional()
        cost = self.cost.under(load)
        rates = {AR: self._rate(AR, load.sequences, [1.0], cost)}
        for k in self.draft_lengths[1:]:
            lengths = outcomes(conditional, k)
            for choice in self._drafting(lengths):
                if load.sequences * choice.rows <= row_budget:
                    rates[choice] = self._rate(choice, load.sequences, lengths, cost)
        return rates

    def _settings(self, conditional: list[float]) -> list[DraftChoice]:
        """AR, and for every k each number of groups, for the likeliest outcomes where drafts survive like this."""
        return [AR, *(c for k in self.draft_lengths[1:] for c in self._drafting(outcomes(conditional, k)))]

    def _drafting(self, lengths: list[float]) -> Iterator[DraftChoice]:
        """No group, one for the likeliest acceptance length, one more for the next, and so on."""
        groups = likeliest(lengths, len(lengths) if self.masks else 0)
        return (_setting(len(lengths), groups[:count]) for count in range(len(groups) + 1))


@lru_cache(maxsize=4096)
def _setting(draft_length: int, groups: tuple[int, ...]) -> DraftChoice:
    return DraftChoice(draft_length, groups)


def _size(choice: DraftChoice) -> tuple[int, int]:
    return choice.draft_length, len(choice.groups)
