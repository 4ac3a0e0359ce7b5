"""Draft and verify with groups that begin with a copy of the last clean token they follow.

SDLM (arXiv 2509.24007, shift 1): every row of a group predicts the position after its own, the copy's too.
Linear self-speculation of Nemotron-Labs-Diffusion (arXiv 2607.05722, shift 0): a mask predicts its own position. As
published it drafts in one forward and verifies in the next; here the forward that drafts commits its token as well.
"""

from __future__ import annotations

from engine.strategies.base import DraftChoice
from engine.strategies.draft_verify import DraftVerify, useful_outcomes
from engine.window import Rows, Window, WindowShape


class CopyAndDraft(DraftVerify):
    """The copy lies at its original's position. Its group sees itself in both directions and all before the original.

    What is committed is what the clean rows say, as with `DraftVerify`; only the drafts come by another way.
    """

    def __init__(self, mask_token_id: int, shift: int, gate: int = 0) -> None:
        """`gate` is added to the ids of a group's rows, copy and masks."""
        super().__init__(mask_token_id + gate)
        self.gate = gate
        #: rows of a group whose tokens the AR row says too: the copy's, and without a shift the first mask's
        self.known = 2 - shift

    def _groups(
        self, pending: int, drafted: int, choice: DraftChoice, remaining: int, room: int
    ) -> tuple[tuple[int, ...], int]:
        if choice.draft_length == 1:
            return (), 0
        length = self.known + choice.draft_length - 1
        useful = useful_outcomes(choice, drafted, remaining)[: room // length]
        return (tuple(pending - 2 + j for j in sorted(useful)), length) if useful else ((), 0)

    def fill(self, window: Window) -> list[int]:
        assert isinstance(window.shape, WindowShape) and self.mask_token_id is not None
        rows = list(window.tokens)
        for seen in window.shape.groups:
            # windows that only measure a forward have no clean token to copy
            copy = window.tokens[seen] + self.gate if window.tokens else self.mask_token_id
            rows += [copy] + [self.mask_token_id] * (window.shape.group_length - 1)
        return rows

    def draft_rows(self, shape: WindowShape, kept: int) -> Rows:
        group = shape.group_rows(kept - 1)
        return range(0) if group is None else group[self.known :]
