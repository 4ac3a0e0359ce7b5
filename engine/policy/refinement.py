"""Makes of one setting for all what suits each window's own drafts, by the hints of the forward that made them."""

from __future__ import annotations

from engine.policy.base import Load
from engine.policy.comparison import Comparison, Turns
from engine.policy.cost import StepCost
from engine.policy.mix import Promise
from engine.policy.offer import Prices, best_offer, window_prices
from engine.policy.outlook import Outlook
from engine.policy.record import DraftRecord
from engine.strategies.base import DraftChoice

#: it brings a few percent, which few tokens do not tell; where steps are short, hints and many shapes cost as much
TURNS = Turns(apart=32, together=16, kept=0.995, few=512, pause=4096)
#: seconds of host work that hints and offers cost, a step and a window (measured on two CPU cores), and the share of a
#: step that they may cost
STEP_SECONDS, WINDOW_SECONDS, AFFORDABLE = 1e-4, 5e-5, 0.02
#: groups that a window has at most
MOST_GROUPS = 6
#: how far a window that promises more (or less) than it costs moves the gain, and how far that may go
GAIN_RATE, LEAST_GAIN, MOST_GAIN = 0.01, 0.9, 2.0


class Refinement:
    """Settings for single windows, and what these have gained.

    `gain` is the rate over that of one setting for all. At the right rate windows break even on average, so it rises
    while they promise more than they cost.
    """

    def __init__(self, draft_length: int) -> None:
        self.outlook = Outlook(draft_length)
        self.gain = 1.0
        self.comparison = Comparison(TURNS)
        self._most_rows = draft_length * (1 + MOST_GROUPS)
        self._prices: Prices = []

    @staticmethod
    def affordable(seconds: float, load: Load) -> bool:
        """Whether a step that takes so long leaves something of what refining its windows may gain."""
        return STEP_SECONDS + WINDOW_SECONDS * load.sequences <= AFFORDABLE * seconds

    def prepare(self, promised: Promise, rate: float, cost: StepCost, load: Load) -> None:
        """Set prices for steps under this load in which one setting for all promises `rate` tokens per second."""
        self._prices = window_prices(promised, rate * self.gain, cost, load, self._most_rows)

    def refine(self, record: DraftRecord, choice: DraftChoice, usual: float) -> DraftChoice:
        """The window's own setting, as long as it has hints; `usual` is everybody's share of right drafts."""
        if record.hint is None or choice.draft_length == 1:
            return choice
        record.expected = self.outlook.expect(record.hint, record.share(usual))
        offer = best_offer(choice.draft_length, record.expected, self._prices)
        step = GAIN_RATE * offer.value / self._prices[offer.choice.rows]
        self.gain = min(max(self.gain * (1 + step), LEAST_GAIN), MOST_GAIN)
        return offer.choice

    def judge(self, record: DraftRecord, drafted: int, accepted: int, usual: float) -> list[float]:
        """Learn how far a window's hints were right; returns what they say of the drafts that it left out."""
        hint, expected = record.hint, record.expected
        record.hint = record.expected = None
        if hint is None:
            return []
        share = record.share(usual)
        if expected is None:
            expected = self.outlook.expect(hint, share)
        self.outlook.learn(hint, share, expected, drafted, accepted)
        return expected[drafted:]
