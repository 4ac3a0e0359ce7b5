"""Whether telling requests apart really pays: both ways take turns, and what they bring is measured."""

from __future__ import annotations

#: steps with classes, and then steps with one setting for all, which also show how everybody's drafts do now
APART, TOGETHER = 48, 16
#: weight that a measured step keeps at each later one of its kind
KEPT = 0.99
#: steps of a kind that are too few to judge by
FEW = 24
#: steps without classes after they have brought nothing
PAUSE = 1536


class Comparison:
    """Tokens per second with classes and without. Ask `apart` before every step for which classes are wanted."""

    def __init__(self) -> None:
        self._turn = 0
        self._pause = 0
        self._now_apart = False
        self._forget()

    def apart(self) -> bool:
        """Whether the next step is to tell requests apart."""
        if self._pause:
            self._pause -= 1
            self._now_apart = False
            return False
        self._turn = (self._turn + 1) % (APART + TOGETHER)
        self._now_apart = self._turn < APART
        return self._now_apart

    def observe(self, tokens: int, seconds: float) -> None:
        """What came of a step."""
        if self._pause:
            return
        kind = int(self._now_apart)
        self._steps[kind] += 1
        self._tokens[kind] = KEPT * self._tokens[kind] + tokens
        self._seconds[kind] = KEPT * self._seconds[kind] + seconds
        if min(self._steps) >= FEW and self.gain() < 1:
            self._pause = PAUSE
            self._forget()

    def gain(self) -> float:
        """Tokens per second with classes over those without; 1 while either is unknown."""
        if min(self._seconds) <= 0:
            return 1.0
        together, apart = (t / s for t, s in zip(self._tokens, self._seconds, strict=True))
        return apart / together if together else 1.0

    def _forget(self) -> None:
        #: [with one setting for all, with classes]
        self._steps = [0, 0]
        self._tokens = [0.0, 0.0]
        self._seconds = [0.0, 0.0]
