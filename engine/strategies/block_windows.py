"""What schemes with blocks of masks share: blocks are causal to each other, and complete ones enter the cache."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

from engine.errors import RequestError
from engine.messages import Submit
from engine.sampling.row import Row
from engine.sequence import Sequence
from engine.strategies.base import DraftChoice, Resolution, Strategy
from engine.strategies.canvas import Canvas, order_refusal
from engine.window import Window
from engine.window_shapes import BlockShape

#: how final tokens see each other: causally, in blocks counted from the text's first token, or the prompt as one block
#: in both directions and blocks after it
Clean = Literal["causal", "aligned", "prompt"]


@dataclass(frozen=True)
class BlockModel:
    """What the weights were trained on: the mask, the block's length, how final tokens see each other, and whether a
    row's logits are of its own position (0) or of the next (1)."""

    mask_token_id: int
    length: int
    clean: Clean = "causal"
    shift: int = 0

    def first_start(self, prompt_len: int) -> int:
        """Where the first block begins; an aligned one may begin within the prompt."""
        return prompt_len // self.length * self.length if self.clean == "aligned" else prompt_len

    def next_cut(self, prompt_len: int, position: int) -> int:
        """The end of the block that a final token's position lies in."""
        if self.clean == "causal":
            return position + 1
        if self.clean == "aligned":
            return (position // self.length + 1) * self.length
        blocks = max(0, (position - prompt_len) // self.length + 1)
        return prompt_len + blocks * self.length


class BlockWindows(Strategy):
    """Windows of final tokens that are not in the cache yet, and the active blocks behind them.

    Where logits are shifted, the last final token comes into every window again, since its row predicts the first mask.
    """

    divisible = False

    def __init__(self, model: BlockModel, max_rows: int) -> None:
        """`max_rows` is the engine's row budget, within which the active blocks must fit."""
        self.model = model
        self.max_rows = max_rows
        self.never = model.mask_token_id

    def plan(self, sequence: Sequence, choice: DraftChoice, row_budget: int) -> Window | None:
        canvas = self._canvas(sequence)
        clean = sequence.tokens[sequence.prefix_len : canvas.start]
        first_time = sequence.prefix_len < self.model.first_start(sequence.prompt_len) - self.model.shift
        if len(clean) + len(canvas.tokens) > row_budget:
            chunk = self._cut(sequence, min(len(clean), row_budget))
            if chunk <= (self.model.shift if chunk == len(clean) else 0):
                return None
            return Window(sequence, clean[:chunk], self._shape(sequence, chunk, 0), range(0), decodes=not first_time)
        first = len(clean) - self.model.shift
        targets = [first + index for index in canvas.masked()]
        shape = self._shape(sequence, len(clean), len(canvas.tokens))
        return Window(sequence, clean, shape, targets, decodes=not first_time)

    def fill(self, window: Window) -> list[int]:
        if not window.targets:
            return window.tokens
        return window.tokens + self._canvas(window.sequence).filled(self.model.mask_token_id)

    def rows(self, window: Window) -> list[Row]:
        if not window.targets:
            return []
        canvas = self._canvas(window.sequence)
        return canvas.rows(window.sequence, canvas.masked())

    def resolve(self, window: Window, sampled: list[int], confidence: list[float]) -> Resolution:
        sequence, canvas = window.sequence, self._canvas(window.sequence)
        at_end = sequence.prefix_len + window.shape.clean == canvas.start
        kept = window.shape.clean - (self.model.shift if at_end else 0)
        if not window.targets:
            return Resolution([], kept)
        masked = canvas.masked()
        fixed = self.decide(canvas, confidence)
        for target in fixed:
            canvas.tokens[masked[target]] = sampled[target]
        canvas.forwards += 1
        committed = canvas.final(len(sequence.tokens))
        self.advance(sequence, canvas)
        return Resolution(committed, kept, fixed=fixed)

    @abstractmethod
    def decide(self, canvas: Canvas, confidence: list[float]) -> list[int]:
        """Which of the canvas's masks, by their index among them, become tokens; at least one."""

    @abstractmethod
    def advance(self, sequence: Sequence, canvas: Canvas) -> None:
        """Drop complete blocks from the canvas's front and append those that are to be decided next."""

    def refusal(self, request: Submit, max_len: int) -> RequestError | None:
        prompt_len = len(request.prompt_token_ids)
        if self.model.clean == "prompt" and prompt_len > self.max_rows:
            return RequestError(
                f"The prompt has {prompt_len} tokens, but this model sees it at once, in steps of at most "
                f"{self.max_rows} tokens; shorten it or raise --max-num-batched-tokens.",
                "prompt",
            )
        return order_refusal(request)

    def settled(self, sequence: Sequence) -> int:
        return min(len(sequence.tokens) - 1, self._canvas(sequence).start - self.model.shift)

    def shares_prefixes(self, page_size: int) -> bool:
        if self.model.clean == "aligned":
            return page_size % self.model.length == 0
        return self.model.clean == "causal"

    def _canvas(self, sequence: Sequence) -> Canvas:
        if sequence.state is None:
            start = self.model.first_start(sequence.prompt_len)
            known = sequence.tokens[start:]
            sequence.state = Canvas(start, [*known, *[None] * (self.model.length - len(known))])
        assert isinstance(sequence.state, Canvas)
        return sequence.state

    def _cut(self, sequence: Sequence, rows: int) -> int:
        """So many final tokens after the prefix at most, up to the end of a block."""
        position = sequence.prefix_len
        while (cut := self.model.next_cut(sequence.prompt_len, position)) <= sequence.prefix_len + rows:
            position = cut
        return position - sequence.prefix_len

    def _shape(self, sequence: Sequence, clean: int, active: int) -> BlockShape:
        behind = (self.model.length,) * (active // self.model.length)
        if self.model.clean == "causal":
            return BlockShape(clean, clean, behind)
        blocks: list[int] = []
        position, end = sequence.prefix_len, sequence.prefix_len + clean
        while position < end:
            cut = self.model.next_cut(sequence.prompt_len, position)
            blocks.append(cut - position)
            position = cut
        return BlockShape(clean, 0, (*blocks, *behind))
