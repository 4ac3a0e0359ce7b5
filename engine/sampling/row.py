"""One logits row that is to choose a token."""

from __future__ import annotations

from dataclasses import dataclass

from engine.sequence import Sequence


@dataclass(slots=True, eq=False)
class Row:
    """The row that chooses the token at `position` of a sequence, after its tokens and these first drafts."""

    sequence: Sequence
    position: int
    drafts: list[int]

    @property
    def context(self) -> list[int]:
        return self.sequence.tokens + self.drafts
