"""Which masks become tokens in a denoising forward."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config import DenoiseOrder
from engine.sampling.confidence import Confidence

#: what each order measures of a token; left to right, the threshold still needs its probability
MEASURES: dict[DenoiseOrder, Confidence] = {
    "confidence": "probability",
    "margin": "margin",
    "entropy": "entropy",
    "left-to-right": "probability",
}


@dataclass(frozen=True)
class Unmasking:
    """All masks surer than `threshold`, and at least the step's share of the best.

    The share is what leaves as many to each of the block's `steps` forwards, or one without `steps`. The best are the
    surest, or the leftmost, where a threshold takes no more than the run before the first that is less sure.
    """

    order: DenoiseOrder = "confidence"
    threshold: float | None = None
    steps: int | None = None

    @property
    def measure(self) -> Confidence:
        return MEASURES[self.order]

    def choose(self, sure: list[float], forwards: int) -> list[int]:
        """Indices among a block's masks, given how sure each is and the forwards that the block has had before."""
        left = max(1, self.steps - forwards) if self.steps is not None else len(sure)
        share = -(-len(sure) // left)
        best = list(range(len(sure)))
        if self.order != "left-to-right":
            best.sort(key=lambda index: -sure[index])
        passing = 0
        while self.threshold is not None and passing < len(best) and sure[best[passing]] > self.threshold:
            passing += 1
        return best[: max(share, passing)]
