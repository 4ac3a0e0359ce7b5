"""What a request's own drafts have come to: the little that is known of it beside everybody's acceptance."""

from __future__ import annotations

from bisect import bisect_right

from engine.policy.outlook import Hint

#: a draft's weight in the record after each later one: about the last twenty count
DECAY = 0.95
#: the same for a step without drafts: what a request was like is forgotten while nothing shows what it is like
FADE = 0.97
#: how many drafts the assumption weighs that a request is like the others
WEIGHT = 2.0
#: shares of right drafts that divide one class of requests from the next
BOUNDS = (0.3, 0.55, 0.8)
CLASSES = len(BOUNDS) + 1


class DraftRecord:
    """Drafts of one request that came to be judged, and how many of them were right; older ones count for less.

    A draft is judged where all drafts before it were right, so the share is one of P(right | those before it are).
    """

    __slots__ = ("expected", "hint", "right", "trials")

    def __init__(self) -> None:
        self.trials = 0.0
        self.right = 0.0
        #: of the drafts at hand, and what was expected of them when their window was planned; None where nothing was
        self.hint: Hint | None = None
        self.expected: list[float] | None = None

    def observe(self, drafted: int, accepted: int) -> None:
        """A window with `drafted` drafts beside d_0, the first `accepted` of which were right."""
        if not drafted:
            self.fade()
            return
        judged = min(drafted, accepted + 1)
        kept = DECAY**judged
        self.trials = kept * self.trials + judged
        self.right = kept * self.right + accepted

    def fade(self) -> None:
        """A window without drafts."""
        self.trials *= FADE
        self.right *= FADE

    def kind(self, usual: float) -> int:
        """The request's class, 0 (drafts badly) to CLASSES - 1 (drafts well); `usual` is the share of them all."""
        return bisect_right(BOUNDS, self.share(usual))

    def share(self, usual: float) -> float:
        """The share of right drafts among the judged, of which little is known at first."""
        return (self.right + WEIGHT * usual) / (self.trials + WEIGHT)
