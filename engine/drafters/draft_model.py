"""A small model of the same vocabulary drafts what the large one checks (arXiv 2211.17192)."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.drafters.stepwise import Follower, Reserve, StepwiseDrafter
from engine.runner import Runner
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence
from engine.strategies.drafter import Decided


class DraftModel(StepwiseDrafter):
    """Catches up lazily, at most `max_rows` rows a step: prompts are read when their decoding begins."""

    def __init__(self, runner: Runner, sampler: Sampler, reserve: Reserve, vocab_size: int, max_rows: int) -> None:
        """`vocab_size` is the target's; the draft model's may be padded to another size."""
        super().__init__(sampler, reserve)
        self.runner = runner
        self.vocab_size = vocab_size
        self.max_rows = max_rows
        self._last_known = runner.model.config.vocab_size - 1
        self._hidden = torch.empty(0)
        self._last_rows: list[int] = []

    def catch_up(self, alive: list[Decided], drafting: bool) -> list[tuple[Sequence, Follower]]:
        if not drafting:
            return []
        budget = self.max_rows
        windows, ready = [], []
        for d in alive:
            sequence = d.window.sequence
            # the last committed token has no page yet, and there may be none left
            if not sequence.decoding or not budget or not self._reserve(sequence, len(sequence.tokens)):
                continue
            follower = self.follower(sequence)
            # a token from the target's padding is none of the draft model's; any other in its place only drafts worse
            rest = sequence.tokens[follower.shadow.prefix_len :][:budget]
            tokens = [min(token, self._last_known) for token in rest]
            budget -= len(tokens)
            windows.append((follower.window(sequence, tokens), sequence, follower))
        if not windows:
            return []
        self._hidden = self.runner.forward([window for window, _, _ in windows])
        self._last_rows = []
        for window, sequence, follower in windows:
            follower.shadow.prefix_len += len(window.tokens)
            if follower.shadow.prefix_len == len(sequence.tokens):
                ready.append((sequence, follower))
                self._last_rows.append(window.start + len(window.tokens) - 1)
        # the last token's slot is the first draft's prefix; drafts behind it are overwritten when the truth is known
        return ready

    def first_logits(self, chosen: list[int]) -> Tensor:
        return self._logits([self._last_rows[i] for i in chosen])

    def next_logits(self, ready: list[tuple[Sequence, Follower]], kept: list[int]) -> Tensor:
        windows = []
        for sequence, follower in ready:
            follower.shadow.prefix_len = len(sequence.tokens) + len(sequence.drafts) - 1
            windows.append(follower.window(sequence, [min(sequence.drafts[-1], self._last_known)]))
        self._hidden = self.runner.forward(windows)
        for sequence, follower in ready:
            follower.shadow.prefix_len = len(sequence.tokens)
        return self._logits([window.start for window in windows])

    def _logits(self, rows: list[int]) -> Tensor:
        """Over the target's vocabulary: what only one of the two has is never drafted."""
        logits = self.runner.logits(self._hidden, rows)
        missing = self.vocab_size - logits.shape[1]
        if missing <= 0:
            return logits[:, : self.vocab_size]
        return torch.nn.functional.pad(logits, (0, missing), value=float("-inf"))
