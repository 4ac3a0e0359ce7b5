"""Settings for classes of requests: those whose drafts come true get more rows than those whose drafts do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from engine.policy.acceptance import Survival, outcomes
from engine.policy.comparison import Comparison, Turns
from engine.policy.mix import Batch, Promise, best_mix, promise
from engine.policy.record import CLASSES, DraftRecord
from engine.strategies.base import DraftChoice

#: classes must promise this much more than one setting for all to be told apart, and to stay so, since promises err
WORTH, STILL_WORTH = 1.3, 1.02
#: classes that bring something bring much, so that few tokens tell
TURNS = Turns(apart=48, together=16, kept=0.99, few=256, pause=1536)


class RequestClasses:
    """How drafts survive in each class, and the setting that each has at present.

    A request's class follows its own record, so that the class's survival is what requests with such a record really
    come to, whatever becomes of the single request next.
    """

    def __init__(self, draft_lengths: Sequence[int], everybody: Survival) -> None:
        self.everybody = everybody
        self.survival = [Survival(draft_lengths[-1]) for _ in range(CLASSES)]
        self.settings: tuple[DraftChoice, ...] = ()
        self.comparison = Comparison(TURNS)

    def observe(self, record: DraftRecord, drafted: int, accepted: int, assumed: Sequence[float], usual: float) -> None:
        """A window of the request whose record this is (see Survival.observe); the record learns of it too.

        `usual` is the present share of right drafts of all requests.
        """
        if drafted or assumed:
            self.survival[record.kind(usual)].observe(drafted, accepted, assumed)
        record.observe(drafted, accepted)

    @property
    def usual(self) -> float:
        """The share of right drafts among all that were judged, of all requests."""
        return self.everybody.share()

    def decide(
        self,
        records: Iterable[DraftRecord],
        common: DraftChoice,
        candidates: Callable[[list[float]], Iterable[DraftChoice]],
        seconds: Callable[[float], float],
        row_budget: int,
    ) -> None:
        """Settings for these requests; none where they gain too little over `common`, the one for all.

        `candidates` are a class's, given its conditional survival of drafts.
        """
        counts = [0] * CLASSES
        usual = self.usual
        for record in records:
            counts[record.kind(usual)] += 1
        if max(counts) == sum(counts):
            self.settings = ()
            return
        prior = self.everybody.conditional()
        known = [survival.conditional(prior) for survival in self.survival]
        promises = [[_promise(choice, each) for choice in candidates(each)] for each in known]
        same = [_promise(common, each) for each in known]
        batch = Batch(counts, seconds, row_budget)
        mix = best_mix(batch, promises, same)
        gain = batch.rate(mix) / batch.rate(same)
        worth = gain > (STILL_WORTH if self.settings else WORTH)
        self.settings = tuple(promised.choice for promised in mix) if worth else ()

    def now(self) -> tuple[DraftChoice, ...]:
        """The settings for the next step; none where it has one for all."""
        return self.settings if self.settings and self.comparison.apart() else ()


def _promise(choice: DraftChoice, conditional: list[float]) -> Promise:
    return promise(choice, outcomes(conditional, choice.draft_length))
