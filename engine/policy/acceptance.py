"""How far drafts survive: a running estimate of P(acceptance length ≥ j)."""

from __future__ import annotations

from collections.abc import Sequence

#: what is assumed before anything was seen: of d_1, and of each later draft relative to the one before it
FIRST_PRIOR, NEXT_PRIOR = 0.5, 0.8
#: how many observations the assumption weighs
PRIOR_WEIGHT = 4.0


#: how far the last windows may lie from all that is remembered before the rest is forgotten: so many standard errors
SURPRISE = 4.0
#: the memory of the last windows only
RECENT_DECAY = 0.95


class Survival:
    """P(draft j is accepted | the drafts before it were), from counts that decay exponentially.

    d_0 is always right, so index 0 is draft d_1. Positions that no window has reached lean on those before them.
    The default decay remembers about 500 windows; where the last twenty or so contradict them, they alone count.
    """

    def __init__(self, draft_length: int, decay: float = 0.998) -> None:
        self.decay = decay
        self._trials = [0.0] * (draft_length - 1)
        self._accepted = [0.0] * (draft_length - 1)
        self._recent_trials = [0.0] * (draft_length - 1)
        self._recent_accepted = [0.0] * (draft_length - 1)

    def observe(self, drafted: int, accepted: int, assumed: Sequence[float] = ()) -> bool:
        """A window with `drafted` drafts beside d_0, the first `accepted` of which were right.

        Of further drafts, which it left out as unlikely, what is `assumed` of each counts as if it had been seen, since
        else only the likely ones would be known. Returns whether the window broke with what was known.
        """
        broke = False
        for j in range(min(drafted, accepted + 1, len(self._trials))):
            right = j < accepted
            self._trials[j] = self.decay * self._trials[j] + 1.0
            self._accepted[j] = self.decay * self._accepted[j] + right
            self._recent_trials[j] = RECENT_DECAY * self._recent_trials[j] + 1.0
            self._recent_accepted[j] = RECENT_DECAY * self._recent_accepted[j] + right
            broke |= self._forget_if_broken(j)
        if accepted == drafted:
            self._assume(drafted, assumed)
        return broke

    def _assume(self, first: int, assumed: Sequence[float]) -> None:
        reached = 1.0
        for j, right in enumerate(assumed[: max(0, len(self._trials) - first)], start=first):
            kept = 1 - (1 - self.decay) * reached
            self._trials[j] = kept * self._trials[j] + reached
            reached *= right
            self._accepted[j] = kept * self._accepted[j] + reached

    def _forget_if_broken(self, j: int) -> bool:
        trials, recent = self._trials[j], self._recent_trials[j]
        if trials < 2 * recent:
            return False
        known = (self._accepted[j] + 1) / (trials + 2)
        seen = self._recent_accepted[j] / recent
        if (seen - known) ** 2 * recent <= SURPRISE**2 * known * (1 - known):
            return False
        self._trials[j], self._accepted[j] = recent, self._recent_accepted[j]
        return True

    def fade(self) -> None:
        """A step without drafts: what was seen grows old, so that after long plain AR new drafts count for more."""
        self._trials = [self.decay * trials for trials in self._trials]
        self._accepted = [self.decay * accepted for accepted in self._accepted]

    def conditional(self, prior: list[float] | None = None) -> list[float]:
        """The estimate for every draft; `prior` is what is assumed of each before anything was seen.

        Without one, a draft is assumed to fall off from the one before it as the drafts before that have done.
        """
        estimates: list[float] = []
        assumed = FIRST_PRIOR
        right, expected = NEXT_PRIOR * PRIOR_WEIGHT, PRIOR_WEIGHT
        fall_off = NEXT_PRIOR
        for j, (trials, accepted) in enumerate(zip(self._trials, self._accepted, strict=True)):
            if j:
                right += accepted
                expected += trials * estimates[-1]
                assumed = min(1.0, fall_off) * estimates[-1]
            if prior is not None:
                assumed = prior[j]
            estimates.append((accepted + PRIOR_WEIGHT * assumed) / (trials + PRIOR_WEIGHT))
            fall_off = right / expected
        return estimates

    def share(self) -> float:
        """P(a draft is right | the drafts before it are), over all positions as often as they are judged."""
        return (sum(self._accepted) + PRIOR_WEIGHT * FIRST_PRIOR) / (sum(self._trials) + PRIOR_WEIGHT)

    def lengths(self, draft_length: int) -> list[float]:
        """P(acceptance length = a) for a = 1 .. draft_length, as a list that sums to 1."""
        return outcomes(self.conditional(), draft_length)


def outcomes(conditional: list[float], draft_length: int) -> list[float]:
    """P(acceptance length = a) for a = 1 .. draft_length, given P(draft j is right | those before it are)."""
    probabilities = []
    alive = 1.0
    for each in conditional[: draft_length - 1]:
        probabilities.append(alive * (1 - each))
        alive *= each
    return [*probabilities, alive]
