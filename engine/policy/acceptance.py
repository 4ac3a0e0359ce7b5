"""How far drafts survive: a running estimate of P(acceptance length ≥ j)."""

from __future__ import annotations


class Survival:
    """`conditional[j]` estimates P(draft j is accepted | the drafts before it were), with exponential decay.

    d_0 is always right, so index 0 is draft d_1. Survival is the product up to a position.
    """

    def __init__(self, draft_length: int, prior: float = 0.5, decay: float = 0.98) -> None:
        self.conditional = [prior] * (draft_length - 1)
        self.decay = decay

    def observe(self, drafted: int, accepted: int) -> None:
        """A window with `drafted` drafts beside d_0, the first `accepted` of which were right."""
        for j in range(min(drafted, accepted + 1, len(self.conditional))):
            outcome = 1.0 if j < accepted else 0.0
            self.conditional[j] += (1 - self.decay) * (outcome - self.conditional[j])

    def lengths(self, draft_length: int) -> list[float]:
        """P(acceptance length = a) for a = 1 .. draft_length, as a list that sums to 1."""
        probabilities = []
        alive = 1.0
        for j in range(draft_length - 1):
            probabilities.append(alive * (1 - self.conditional[j]))
            alive *= self.conditional[j]
        return [*probabilities, alive]
