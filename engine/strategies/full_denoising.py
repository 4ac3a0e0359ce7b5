"""Denoising as LLaDA (arXiv 2502.09992) and Dream (arXiv 2508.15487) publish it: the whole text in both directions."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import RequestError
from engine.messages import Submit
from engine.sampling.row import Row
from engine.sequence import Sequence
from engine.strategies.base import DraftChoice, Resolution, Strategy
from engine.strategies.canvas import Canvas, order_refusal
from engine.strategies.unmasking import Unmasking
from engine.window import Window
from engine.window_shapes import BlockShape

#: where Dream's time ends, from 1 on
DREAM_END = 1e-3


@dataclass(frozen=True)
class FullModel:
    """The mask, and whether a row's logits are of its own position (0, LLaDA) or of the next (1, Dream)."""

    mask_token_id: int
    shift: int = 0


class FullDenoising(Strategy):
    """Every forward sees the prompt and all positions up to `max_tokens`, masks included; nothing is cached.

    With `block_length`, the masks of one block after the other become tokens, while those behind are there but wait
    (LLaDA's semi-autoregressive remasking); without, all compete, on Dream's schedule. What is low in confidence stays
    a mask; a token never becomes one again.

    With `cache`, only a block's first forward sees everything; it leaves the K/V of all before the block for the
    block's other forwards (the prefix cache of Fast-dLLM, arXiv 2505.22618). That is an approximation: those K/V do not
    follow what is decided in the block.
    """

    divisible = False

    def __init__(
        self, model: FullModel, unmasking: Unmasking, block_length: int | None, max_rows: int, cache: bool = False
    ) -> None:
        """`max_rows` is the engine's row budget, within which prompt and output must fit."""
        self.model = model
        self.unmasking = unmasking
        self.block_length = block_length
        self.max_rows = max_rows
        self.cache = cache
        self.confidence = unmasking.measure
        self.never = model.mask_token_id

    def plan(self, sequence: Sequence, choice: DraftChoice, row_budget: int) -> Window | None:
        canvas, first = self._canvas(sequence), sequence.prefix_len
        rows = sequence.max_len - first
        if rows > row_budget:
            return None
        targets = [canvas.start + index - self.model.shift - first for index in self._targets(sequence)]
        begun = canvas.forwards > 0 or any(token is not None for token in canvas.tokens)
        clean = self._block_start(canvas) if self.cache and not first else 0
        tokens = sequence.tokens[:clean] if self.cache else list(sequence.tokens)
        return Window(sequence, tokens, BlockShape(clean, 0, (rows,)), targets, decodes=begun)

    def fill(self, window: Window) -> list[int]:
        sequence, canvas = window.sequence, self._canvas(window.sequence)
        mask = self.model.mask_token_id
        ids = sequence.tokens[: sequence.prompt_len] + canvas.filled(mask)
        if not window.targets:
            # the cache is computed anew, from what there was when it was made
            start = self._block_start(canvas)
            ids[start:] = [mask] * (len(ids) - start)
        return ids[sequence.prefix_len :]

    def rows(self, window: Window) -> list[Row]:
        return self._canvas(window.sequence).rows(window.sequence, self._targets(window.sequence))

    def resolve(self, window: Window, sampled: list[int], confidence: list[float]) -> Resolution:
        sequence, canvas = window.sequence, self._canvas(window.sequence)
        if not window.targets:
            return Resolution([], window.shape.clean)
        candidates = self._candidates(canvas)
        fixed = self._decide(canvas, confidence)
        for target in fixed:
            canvas.tokens[candidates[target]] = sampled[target]
        canvas.forwards += 1
        kept = window.shape.clean
        if self.block_length is not None and len(fixed) == len(candidates):
            # the next block begins, and with it what may be cached
            canvas.forwards, kept = 0, -sequence.prefix_len
        return Resolution(canvas.final(len(sequence.tokens)), kept, fixed=fixed)

    def refusal(self, request: Submit, max_len: int) -> RequestError | None:
        if max_len > self.max_rows:
            return RequestError(
                f"Prompt and output have {max_len} tokens, but this model sees both at once, in steps of at most "
                f"{self.max_rows} tokens; lower max_tokens or raise --max-num-batched-tokens.",
                "max_tokens",
            )
        return order_refusal(request)

    def settled(self, sequence: Sequence) -> int:
        return 0

    def shares_prefixes(self, page_size: int) -> bool:
        return False

    def _canvas(self, sequence: Sequence) -> Canvas:
        if sequence.state is None:
            sequence.state = Canvas(sequence.prompt_len, [None] * (sequence.max_len - sequence.prompt_len))
        assert isinstance(sequence.state, Canvas)
        return sequence.state

    def _targets(self, sequence: Sequence) -> list[int]:
        """Indices of the masks that this forward looks at: none where a cache that preemption took is made again."""
        canvas = self._canvas(sequence)
        lost = self.cache and not sequence.prefix_len and canvas.forwards > 0
        return [] if lost else self._candidates(canvas)

    def _block_start(self, canvas: Canvas) -> int:
        """The position where the block begins whose masks become tokens now."""
        assert self.block_length is not None
        return canvas.start + canvas.masked()[0] // self.block_length * self.block_length

    def _candidates(self, canvas: Canvas) -> list[int]:
        """Indices of the masks that may become tokens now: those of the first block that has any, or all."""
        masked = canvas.masked()
        if self.block_length is None or not masked:
            return masked
        block = masked[0] // self.block_length
        return [index for index in masked if index // self.block_length == block]

    def _decide(self, canvas: Canvas, confidence: list[float]) -> list[int]:
        if self.block_length is not None:
            return self.unmasking.choose(confidence, canvas.forwards)
        steps = self.unmasking.steps or len(canvas.tokens)
        share = dream_share(len(confidence), steps, canvas.forwards)
        return sorted(range(len(confidence)), key=lambda i: -confidence[i])[:share]


def dream_share(masks: int, steps: int, step: int) -> int:
    """Masks that become tokens in a step of Dream's, whose time goes evenly from 1 to DREAM_END; the last takes all.

    Rounding down, the first steps may take none where there are as many steps as masks.
    """
    if step >= steps - 1:
        return masks
    now, then = (1 - (1 - DREAM_END) * i / steps for i in (step, step + 1))
    return int(masks * (1 - then / now))
