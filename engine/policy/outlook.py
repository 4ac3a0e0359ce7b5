"""Whether a draft will turn out right: what the forward that made it said of it for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

#: weights before anything was seen: of the log odds of a draft's probability, of that of d_0 and of the request's share
#: of right drafts; and what is added for every position
PRIOR, PRIOR_BIAS = (0.8, 0.25, 0.2), 1.0
#: how far a judged draft moves the weights, and its own position's bias, of which it tells more
LEARNING_RATE, BIAS_RATE = 0.01, 0.03
#: odds are taken of probabilities this far from 0 and 1 at least
EDGE = 0.02


@dataclass(frozen=True, slots=True)
class Hint:
    """What a forward knows of the drafts that it made: the probability of each in its own mask row, d_1 first, and
    that of the token before them, d_0, in the AR row that chose it."""

    of_drafts: list[float]
    of_next: float


class Outlook:
    """P(a draft is right | those before it are): a logistic regression, learned online, that all requests share."""

    def __init__(self, draft_length: int) -> None:
        self.weights = list(PRIOR)
        self.biases = [PRIOR_BIAS] * (draft_length - 1)

    def expect(self, hint: Hint, share: float) -> list[float]:
        """The probability of each draft; `share` is that of right drafts among the request's so far."""
        sure, certain, usual = self.weights
        base = certain * _log_odds(hint.of_next) + usual * _log_odds(share)
        drafts = zip(self.biases, hint.of_drafts, strict=False)
        return [1 / (1 + exp(-base - bias - sure * _log_odds(p))) for bias, p in drafts]

    def learn(self, hint: Hint, share: float, expected: list[float], drafted: int, accepted: int) -> None:
        """The first `drafted` drafts were verified and the first `accepted` of them right; `expected` was said then."""
        certain, usual = _log_odds(hint.of_next), _log_odds(share)
        weights = self.weights
        for j in range(min(drafted, accepted + 1, len(expected))):
            error = (j < accepted) - expected[j]
            # later positions, which are seen less often, do at least as badly or well
            for later in range(j, len(self.biases)):
                self.biases[later] += BIAS_RATE * error
            weights[0] += LEARNING_RATE * error * _log_odds(hint.of_drafts[j])
            weights[1] += LEARNING_RATE * error * certain
            weights[2] += LEARNING_RATE * error * usual


def _log_odds(p: float) -> float:
    # in this order NaN, from a broken mask row, counts as no confidence and spoils nobody's weights
    p = min(max(EDGE, p), 1 - EDGE)
    return log(p / (1 - p))
