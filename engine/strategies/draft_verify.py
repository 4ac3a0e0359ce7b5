"""Draft and verify in one forward (TiDAR, arXiv 2511.08923); with k = 1 it is plain autoregression."""

from __future__ import annotations

from engine.sampling.row import Row
from engine.sequence import Sequence
from engine.strategies.base import DraftChoice, Resolution, Strategy
from engine.window import Rows, Window, WindowShape


class DraftVerify(Strategy):
    """Clean rows are the pending tokens and the drafts after them; groups pre-draft what follows each outcome.

    The drafts are compared with the tokens sampled from the AR rows, so what is committed is what the AR model says.
    """

    def __init__(self, mask_token_id: int | None, mask_places: int = 1) -> None:
        """With `mask_places` n, the first n masks of a group have ids of their own, from `mask_token_id` on, and
        those behind them have the last of these."""
        self.mask_token_id = mask_token_id
        self.mask_places = mask_places

    def plan(self, sequence: Sequence, choice: DraftChoice, row_budget: int) -> Window:
        pending, remaining = sequence.pending, sequence.remaining
        if pending > row_budget:
            tokens = sequence.tokens[sequence.prefix_len : sequence.prefix_len + row_budget]
            return Window(sequence, tokens, WindowShape(row_budget), range(0), decodes=False)
        room = row_budget - pending
        drafts = sequence.drafts[: min(choice.most_verified, remaining - 1, room)]
        room -= len(drafts)
        shape = WindowShape(pending + len(drafts), *self._groups(pending, len(drafts), choice, remaining, room))
        tokens = sequence.tokens[sequence.prefix_len :] + drafts
        return Window(sequence, tokens, shape, range(pending - 1, shape.clean), sequence.decoding, len(drafts))

    def _groups(
        self, pending: int, drafted: int, choice: DraftChoice, remaining: int, room: int
    ) -> tuple[tuple[int, ...], int]:
        """How many clean rows each group sees, as many groups as fit, and their length."""
        k = choice.draft_length
        if self.mask_token_id is None or k == 1:
            return (), 0
        useful = useful_outcomes(choice, drafted, remaining)[: room // k]
        return (tuple(pending - 1 + j for j in sorted(useful)), k) if useful else ((), 0)

    def fill(self, window: Window) -> list[int]:
        shape = window.shape
        if not isinstance(shape, WindowShape) or not shape.groups:
            return window.tokens
        # without a mask token no window is planned with masks; the probe of step costs has some, and any token will do
        first, last = self.mask_token_id or 0, self.mask_places - 1
        group = [first + min(place, last) for place in range(shape.group_length)]
        return window.tokens + group * len(shape.groups)

    def rows(self, window: Window) -> list[Row]:
        sequence = window.sequence
        first, drafts = sequence.prefix_len + 1, window.tokens[sequence.pending :]
        rows = [Row(sequence, first + row, window.tokens[sequence.pending : row + 1]) for row in window.targets]
        if rows and sequence.matcher is not None:
            for row, allowed in zip(rows, sequence.matcher.allowed_along(drafts), strict=True):
                row.allowed = allowed
        return rows

    def outcomes(self, window: Window) -> dict[int, Rows]:
        shape = window.shape
        if not window.targets or not isinstance(shape, WindowShape):
            return {}
        first = window.targets[0]
        every = {kept - first: self.draft_rows(shape, kept) for kept in range(first + 1, shape.clean + 1)}
        return {committed: rows for committed, rows in every.items() if rows}

    def draft_rows(self, shape: WindowShape, kept: int) -> Rows:
        """The mask rows that draft what follows so many clean rows; of a group, the first stands where d_0 is."""
        group = shape.group_rows(kept)
        return range(0) if group is None else group[1:]

    def resolve(self, window: Window, sampled: list[int], confidence: list[float]) -> Resolution:
        if not window.targets:
            return Resolution([], window.shape.clean)
        accepted = accepted_length(window, sampled)
        kept = window.targets[0] + accepted
        assert isinstance(window.shape, WindowShape)
        return Resolution(sampled[:accepted], kept, self.draft_rows(window.shape, kept))


def useful_outcomes(choice: DraftChoice, drafted: int, remaining: int) -> list[int]:
    """Acceptance lengths worth a group's rows: those that can come about and leave two tokens or more to generate."""
    outcomes = choice.groups if drafted else (1,)
    return [j for j in outcomes if j <= drafted + 1 and remaining - j >= 2]


def accepted_length(window: Window, sampled: list[int]) -> int:
    """How many tokens the window decides: its drafts as far as the AR rows agree, and the token after them."""
    drafts = window.tokens[window.targets[0] + 1 :]
    accepted = 1
    while accepted <= len(drafts) and drafts[accepted - 1] == sampled[accepted - 1]:
        accepted += 1
    return accepted
