"""Whether treating sequences apart really pays: both ways take turns, and what they bring is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turns:
    """So many steps `apart` and then so many `together`, with one setting for all, which also show how everybody's
    drafts do now.

    `kept` is the weight that a measured step keeps at each later one of its kind, and `few` are too few tokens of a
    kind to judge by (in a large batch that is few steps, whose tokens vary less); once apart has brought nothing,
    `pause` steps go by without it.
    """

    apart: int
    together: int
    kept: float
    few: int
    pause: int


class Comparison:
    """Tokens per second apart and together. Ask `apart` before every step for which that is the question."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self._turn = 0
        self._pause = 0
        self._now_apart = False
        self._forget()

    def apart(self) -> bool:
        """Whether the next step is to tell sequences apart."""
        if self._pause:
            self._pause -= 1
            self._now_apart = False
            return False
        self._turn = (self._turn + 1) % (self.turns.apart + self.turns.together)
        self._now_apart = self._turn < self.turns.apart
        return self._now_apart

    def observe(self, tokens: int, seconds: float) -> None:
        """What came of a step."""
        if self._pause:
            return
        kind = int(self._now_apart)
        self._committed[kind] += tokens
        self._tokens[kind] = self.turns.kept * self._tokens[kind] + tokens
        self._seconds[kind] = self.turns.kept * self._seconds[kind] + seconds
        if min(self._committed) >= self.turns.few and self.gain() < 1:
            self._pause = self.turns.pause
            self._forget()

    def gain(self) -> float:
        """Tokens per second apart over those together; 1 while either is unknown."""
        if min(self._seconds) <= 0:
            return 1.0
        together, apart = (t / s for t, s in zip(self._tokens, self._seconds, strict=True))
        return apart / together if together else 1.0

    def _forget(self) -> None:
        #: [together, apart]
        self._committed = [0, 0]
        self._tokens = [0.0, 0.0]
        self._seconds = [0.0, 0.0]
