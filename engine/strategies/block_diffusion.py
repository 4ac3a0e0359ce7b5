"""Block diffusion (SDAR, arXiv 2510.06303): one block of masks after the final tokens, decided in several forwards."""

from __future__ import annotations

from engine.sequence import Sequence
from engine.strategies.block_windows import BlockModel, BlockWindows
from engine.strategies.canvas import Canvas
from engine.strategies.unmasking import Unmasking


class BlockDiffusion(BlockWindows):
    """A block sees itself in both directions and all before it; the next one begins when all its masks are tokens.

    The first window of a block has the one before it as final tokens, whose K/V it keeps, so no forward is spent on
    that alone.
    """

    def __init__(self, model: BlockModel, unmasking: Unmasking, max_rows: int) -> None:
        super().__init__(model, max_rows)
        self.unmasking = unmasking
        self.confidence = unmasking.measure

    def decide(self, canvas: Canvas, confidence: list[float]) -> list[int]:
        return self.unmasking.choose(confidence, canvas.forwards)

    def advance(self, sequence: Sequence, canvas: Canvas) -> None:
        if not canvas.masked():
            sequence.state = Canvas(canvas.start + self.model.length, [None] * self.model.length)
