"""Makes drafts keep to their grammar: each forbidden one is drawn anew among what is allowed there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.grammar.matcher import Bits, Matcher

#: a token for each given row, or a negative number, drawn among the tokens whose bits are set
Redraw = Callable[[list[int], list[Bits]], list[int]]


@dataclass(eq=False)
class BoundDrafts:
    """Drafts of one sequence, drawn without regard to its grammar from rows `first` on."""

    matcher: Matcher
    first: int
    drafts: list[int]
    checked: int = 0

    def next_forbidden(self) -> int | None:
        """Follow the drafts up to the first forbidden one and return its row; None at the end, which may cut them."""
        possible, goes_on = self.matcher.follow(self.drafts[self.checked :])
        self.checked += possible
        if not goes_on:
            self.drafts = self.drafts[: self.checked]
        return self.first + self.checked if self.checked < len(self.drafts) else None

    def after_redraw(self, row: int) -> int | None:
        """`next_forbidden`, but a row that was just drawn anew and is still forbidden ends the drafts.

        The bits of a place may allow what the matcher then refuses, and the noise would draw it for ever.
        """
        forbidden = self.next_forbidden()
        if forbidden != row:
            return forbidden
        self.drafts = self.drafts[: self.checked]
        return None


def bind_drafts(bound: list[BoundDrafts], redraw: Redraw) -> None:
    """Redraw what is forbidden, all sequences' next ones together; drafts end where nothing is allowed."""
    pending = [(drafts, row) for drafts in bound if (row := drafts.next_forbidden()) is not None]
    while pending:
        tokens = redraw([row for _, row in pending], [drafts.matcher.allowed() for drafts, _ in pending])
        for (drafts, _), token in zip(pending, tokens, strict=True):
            if token < 0:
                drafts.drafts = drafts.drafts[: drafts.checked]
            else:
                drafts.drafts[drafts.checked] = token
        pending = [(drafts, row) for drafts, before in pending if (row := drafts.after_redraw(before)) is not None]
    for drafts in bound:
        drafts.matcher.take_back()
