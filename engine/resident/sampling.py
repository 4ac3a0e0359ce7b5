"""Sampling with each row's settings in tensors: the same bits as engine.sampling, without a look from the host."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

from engine.params import SamplingParams
from engine.resident.state import RowSettings
from engine.sampling.noise import GumbelNoise


class Draw(Enum):
    """How much work a batch's settings ask for; the most of any of its sequences."""

    GREEDY = 0
    NOISY = 1
    #: top-k or top-p, which sort the vocabulary
    SORTED = 2


def draw_for(params: list[SamplingParams]) -> Draw:
    """What this batch needs."""
    noisy = [p for p in params if p.temperature > 0]
    if any(p.top_k > 0 or p.top_p < 1.0 for p in noisy):
        return Draw.SORTED
    return Draw.NOISY if noisy else Draw.GREEDY


class ResidentSampler:
    """One token per row, for `each` consecutive rows of every sequence."""

    def __init__(self, noise: GumbelNoise) -> None:
        self.noise = noise

    def sample(self, logits: Tensor, settings: RowSettings, positions: Tensor, draw: Draw) -> Tensor:
        """int64 [batch, each]: logits [batch · each, vocab], positions int64 [batch, each] of the tokens to choose."""
        each = positions.shape[1]
        if draw is Draw.GREEDY:
            return logits.argmax(-1).view(-1, each)
        temperature, min_p = _per_row(settings.temperature, each), _per_row(settings.min_p, each)
        noisy = temperature > 0
        scores = logits / torch.where(noisy, temperature, 1.0).to(logits.dtype)[:, None]
        if draw is Draw.SORTED:
            scores = _top_k_top_p(scores, _per_row(settings.top_k, each), _per_row(settings.top_p, each))
        floor = scores.amax(-1, keepdim=True) + min_p.to(scores.dtype).log()[:, None]
        scores = scores.masked_fill(scores < floor, float("-inf"))
        scores = scores + self.noise(_per_row(settings.seed, each), positions.flatten(), scores.dtype)
        return torch.where(noisy, scores.argmax(-1), logits.argmax(-1)).view(-1, each)


def _per_row(setting: Tensor, each: int) -> Tensor:
    """[batch] to [batch · each]."""
    return setting[:, None].expand(-1, each).flatten()


def _top_k_top_p(scores: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """Twin of engine.sampling.filters: the k best tokens, and of these the smallest set whose probability reaches p."""
    vocab = scores.shape[-1]
    ordered = scores.sort(-1, descending=True).values
    beyond = torch.arange(vocab, device=scores.device) >= top_k[:, None]
    ordered = ordered.masked_fill(beyond, float("-inf"))
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    kept = (before < top_p.to(scores.dtype)[:, None]) & (ordered > float("-inf"))
    threshold = ordered.masked_fill(~kept, float("inf")).amin(-1, keepdim=True)
    # a sum that rounds up to 1 must not cut a row without filters
    filtered = (top_k < vocab) | (top_p < 1.0)
    return scores.masked_fill(filtered[:, None] & (scores < threshold), float("-inf"))
