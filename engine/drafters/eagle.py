"""An EAGLE-3 head (arXiv 2503.01840) drafts from hidden states that the model's own forward leaves behind."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attention.base import AttentionBackend
from engine.batch import lay_out
from engine.drafters.stepwise import Follower, Reserve, StepwiseDrafter
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence
from engine.strategies.drafter import Decided
from engine.window import Window
from models.eagle import EagleHead


class EagleDrafter(StepwiseDrafter):
    """Follows every step, since the features of a position exist only in the forward that computes it.

    The head's row p holds the feature of position p and the token at p + 1; so its cache is always as long as the
    model's, and one row behind the committed tokens.
    """

    def __init__(self, head: EagleHead, attention: AttentionBackend, sampler: Sampler, reserve: Reserve) -> None:
        super().__init__(sampler, reserve)
        self.head = head
        self.attention = attention
        self._layers = tuple(index - 1 for index in head.config.features)
        self.tap = self._keep
        self._tapped: dict[int, Tensor] = {}
        #: what the head made of the last rows, [rows, hidden_size]: the stand-in features of the rows after them
        self._outputs = torch.empty(0)

    def _keep(self, layer: int, hidden: Tensor) -> None:
        if layer in self._layers:
            self._tapped[layer] = hidden.clone()

    def catch_up(self, alive: list[Decided], drafting: bool) -> list[tuple[Sequence, Follower]]:
        features = self.head.fused(torch.stack([self._tapped[layer] for layer in self._layers], 1))
        windows, rows = [], []
        for d in alive:
            sequence, kept = d.window.sequence, d.resolution.kept
            if not kept:
                continue
            follower = self.follower(sequence)
            first = follower.shadow.prefix_len = sequence.prefix_len - kept
            windows.append(follower.window(sequence, sequence.tokens[first + 1 : first + 1 + kept]))
            path = range(kept) if d.resolution.path is None else d.resolution.path[:kept]
            rows.append(torch.tensor([d.window.start + row for row in path]))
        if not windows:
            return []
        outputs = self._forward(windows, [features[r] for r in rows])
        ready = [(d.window.sequence, self.follower(d.window.sequence)) for d in alive if d.resolution.kept]
        for sequence, follower in ready:
            follower.shadow.prefix_len = sequence.prefix_len
        decoding = [i for i, (sequence, _) in enumerate(ready) if drafting and sequence.decoding]
        last = [windows[i].start + len(windows[i].tokens) - 1 for i in decoding]
        self._outputs = outputs[last]
        return [ready[i] for i in decoding]

    def first_logits(self, chosen: list[int]) -> Tensor:
        self._outputs = self._outputs[chosen]
        return self._logits()

    def next_logits(self, ready: list[tuple[Sequence, Follower]], kept: list[int]) -> Tensor:
        windows = []
        for sequence, follower in ready:
            follower.shadow.prefix_len = sequence.prefix_len + len(sequence.drafts) - 1
            windows.append(follower.window(sequence, [sequence.drafts[-1]]))
        outputs = self._forward(windows, [self._outputs[[row]] for row in kept])
        self._outputs = outputs[[window.start for window in windows]]
        return self._logits()

    def _forward(self, windows: list[Window], features: list[Tensor]) -> Tensor:
        """The head over these windows [rows, hidden_size], each with its rows' features."""
        batch = lay_out(
            windows,
            [window.tokens for window in windows],
            self.attention.storage,
            self.head.config.layer.max_position_embeddings,
        )
        order = {id(window): given for window, given in zip(windows, features, strict=True)}
        laid_out = torch.cat([order[id(window)] for window in batch.windows])
        out: Tensor = self.head(batch.token_ids, laid_out, batch.positions, self.attention.prepare(batch))
        return out

    def _logits(self) -> Tensor:
        return self._vocabulary_logits(self._outputs)

    def _vocabulary_logits(self, outputs: Tensor) -> Tensor:
        """Scores over the target's vocabulary; -inf where the head has no such token."""
        scores = self.head.logits(outputs)
        scores = scores if scores.dtype == torch.float64 else scores.float()
        full = scores.new_full((len(scores), self.head.config.layer.vocab_size), float("-inf"))
        full[:, self.head.targets] = scores
        return full
