"""I-DLM's strided decoding (arXiv 2604.11035): everything is strictly causal, and each row predicts the next position.

A window holds k clean tokens and k - 1 masks behind them, which draft what follows if all of the drafts are right.
After a rejection the next window is one clean token and its masks. As published, drafts are accepted by a ratio of
probabilities; here they have to equal the token that the clean row samples, which gives the same distribution.
"""

from __future__ import annotations

from engine.sequence import Sequence
from engine.strategies.base import DraftChoice, Resolution
from engine.strategies.draft_verify import DraftVerify, accepted_length
from engine.window import Window
from engine.window_shapes import BlockShape


class Stride(DraftVerify):
    """`DraftVerify` whose masks follow the last clean token, as many as fit."""

    def __init__(self, mask_token_id: int) -> None:
        super().__init__(mask_token_id)
        self._mask = mask_token_id

    def plan(self, sequence: Sequence, choice: DraftChoice, row_budget: int) -> Window:
        window = super().plan(sequence, DraftChoice(choice.draft_length), row_budget)
        if not window.targets or sequence.remaining - window.drafted < 3:
            return window
        clean = window.shape.clean
        rows = min(clean + choice.draft_length - 1, row_budget)
        if rows > clean:
            window.shape = BlockShape(clean, rows)
        return window

    def fill(self, window: Window) -> list[int]:
        return window.tokens + [self._mask] * (window.shape.rows - window.shape.clean)

    def resolve(self, window: Window, sampled: list[int], confidence: list[float]) -> Resolution:
        clean, rows = window.shape.clean, window.shape.rows
        if not window.targets:
            return Resolution([], clean)
        accepted = accepted_length(window, sampled)
        kept = window.targets[0] + accepted
        return Resolution(sampled[:accepted], kept, range(clean, rows) if kept == clean else range(0))
