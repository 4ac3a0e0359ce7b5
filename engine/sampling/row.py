"""One logits row that is to choose a token."""

from __future__ import annotations

from dataclasses import dataclass

from engine.grammar.matcher import Bits
from engine.sequence import Sequence


@dataclass(slots=True, eq=False)
class Row:
    """The row that chooses the token at `position` of a sequence, after its tokens and these first drafts.

    `allowed` has a bit for every token that the request's grammar lets come there, and is None without a grammar.
    """

    sequence: Sequence
    position: int
    drafts: list[int]
    allowed: Bits | None = None

    @property
    def context(self) -> list[int]:
        return self.sequence.tokens + self.drafts
