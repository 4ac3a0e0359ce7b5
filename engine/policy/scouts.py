"""The few who go on drafting while a batch decodes plainly, so that it shows when drafts begin to pay again."""

from __future__ import annotations

from collections.abc import Sequence

from engine.policy.base import Load
from engine.policy.cost import StepCost
from engine.policy.record import DraftRecord
from engine.strategies.base import DraftChoice

#: one scout for so many sequences
SHARE = 64
#: others after so many steps or more, of which so many or more have scouts: the first is cold, and tells nothing
TURN, STEPS = 64, 3
#: the rows that a scout takes more than plain decoding, on average: k = 2 without groups, every other step cold
ROWS = 1.5
#: weight of a new step in what steps with scouts are seen to take
RATE = 0.1
#: how much longer than a plain one a step with scouts counts at most, since some stall
MOST = 1.0


class Scouts:
    """Sequences take turns, and rest for the part of a turn in which scouting would take more than `share` of the time.

    What it takes is what steps with scouts were seen to take beyond plain ones: where these are short, the work of a
    second kind of window more than its rows.
    """

    def __init__(self, setting: DraftChoice, cost: StepCost, share: float) -> None:
        self.setting = setting
        self.share = share
        self._cost = cost
        #: the present turn, the step in which its scouts rest, and that in which the next one begins
        self._turn, self._until, self._next = -1, 0.0, 0.0
        #: shares of a plain step that scouts add, by octaves of sequences
        self._dear: dict[int, float] = {}

    def among(self, records: Sequence[DraftRecord], step: int, load: Load) -> Sequence[DraftRecord]:
        """Who drafts in this step, nobody where it is none's turn."""
        count = max(1, load.sequences // SHARE)
        if step >= self._next:
            self._begin(step, count, load)
        if step >= self._until:
            return ()
        first = self._turn * count % len(records)
        return records[first : first + count]

    def observe(self, load: Load, seconds: float) -> None:
        """A step with scouts took so long."""
        octave = load.sequences.bit_length()
        dear = min(seconds / self._cost(load.sequences, load) - 1, MOST)
        before = self._dear.get(octave, dear)
        self._dear[octave] = before + RATE * (dear - before)

    def _begin(self, step: int, count: int, load: Load) -> None:
        dear = max(self._dear.get(load.sequences.bit_length(), self._assumed(count, load)), self.share)
        length = max(TURN, STEPS * dear / self.share)
        self._turn += 1
        self._until, self._next = step + self.share * length / dear, step + length

    def _assumed(self, count: int, load: Load) -> float:
        return self._cost(load.sequences + count * ROWS, load) / self._cost(load.sequences, load) - 1
