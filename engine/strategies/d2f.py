"""Discrete diffusion forcing (D2F, arXiv 2508.09192): a pipeline of blocks that are denoised side by side."""

from __future__ import annotations

from dataclasses import dataclass

from engine.sequence import Sequence
from engine.strategies.block_windows import BlockModel, BlockWindows
from engine.strategies.canvas import Canvas


@dataclass(frozen=True)
class Pipeline:
    """A block follows once the last has decided `add` of its tokens, and is fully active once the one before it has
    decided `activate`; `sure` is the probability above which a token is decided anywhere."""

    add: float = 0.1
    activate: float = 0.95
    sure: float = 0.9


class D2F(BlockWindows):
    """The prompt sees itself in both directions, blocks are causal to each other.

    Blocks that are not fully active decide only what is sure; fully active ones at least their best mask. A block's K/V
    are kept when it and all before it are complete. After an end token no block follows.
    """

    confidence = "probability"

    def __init__(self, model: BlockModel, pipeline: Pipeline, max_rows: int) -> None:
        super().__init__(model, max_rows)
        self.pipeline = pipeline
        #: blocks that may be active at once
        self.most = (max_rows - model.shift) // model.length

    def decide(self, canvas: Canvas, confidence: list[float]) -> list[int]:
        masked, length = canvas.masked(), self.model.length
        fixed: list[int] = []
        for block in range(len(canvas.tokens) // length):
            mine = [i for i, index in enumerate(masked) if index // length == block]
            sure = [i for i in mine if confidence[i] > self.pipeline.sure]
            if mine and not sure and (block == 0 or self._decided(canvas, block - 1) >= self.pipeline.activate):
                sure = [max(mine, key=lambda i: confidence[i])]
            fixed += sure
        return fixed

    def advance(self, sequence: Sequence, canvas: Canvas) -> None:
        length = self.model.length
        ended = any(token in sequence.stop_token_ids for token in canvas.tokens)
        while canvas.tokens and not canvas.masked(0, length):
            del canvas.tokens[:length]
            canvas.start += length
        blocks = len(canvas.tokens) // length
        follows = blocks == 0 or self._decided(canvas, blocks - 1) >= self.pipeline.add
        if follows and not ended and blocks < self.most and canvas.start + blocks * length < sequence.max_len:
            canvas.tokens += [None] * length

    def _decided(self, canvas: Canvas, block: int) -> float:
        """The share of a block's positions that are tokens."""
        length = self.model.length
        return 1 - len(canvas.masked(block * length, (block + 1) * length)) / length
