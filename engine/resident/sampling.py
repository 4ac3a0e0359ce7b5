"""Sampling with each row's settings in tensors: the same bits as engine.sampling, without a look from the host."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

from engine.params import SamplingParams
from engine.resident.state import RowSettings
from engine.sampling.filters import Filters, has_filter, top_k_top_p
from engine.sampling.noise import GumbelNoise


class Draw(Enum):
    """How much work a batch's settings ask for; the most of any of its sequences."""

    GREEDY = 0
    NOISY = 1
    #: top-k, top-p or min-p, which look at the whole distribution
    FILTERED = 2


def draw_for(params: list[SamplingParams]) -> Draw:
    """What this batch needs."""
    if any(map(has_filter, params)):
        return Draw.FILTERED
    return Draw.NOISY if any(p.temperature > 0 for p in params) else Draw.GREEDY


class ResidentSampler:
    """One token per row, for `each` consecutive rows of every sequence.

    With `triton`, as in engine.sampling.sampler, filters need no sort, and one kernel serves every temperature.
    """

    def __init__(self, noise: GumbelNoise, triton: bool = False) -> None:
        self.noise = noise
        self.triton = triton

    def sample(self, logits: Tensor, settings: RowSettings, positions: Tensor, draw: Draw) -> Tensor:
        """int64 [batch, each]: logits [batch · each, vocab], positions int64 [batch, each] of the tokens to choose."""
        rows = RowSettings(*(_per_row(setting, positions.shape[1]) for setting in settings))
        if self.triton:
            tokens = self._fused(logits, rows, positions.flatten(), draw is Draw.FILTERED)
        elif draw is Draw.GREEDY:
            tokens = logits.argmax(-1)
        else:
            tokens = self._noisy(logits, rows, positions.flatten(), draw is Draw.FILTERED)
        return tokens.view(positions.shape)

    def _noisy(self, logits: Tensor, rows: RowSettings, positions: Tensor, filters: bool) -> Tensor:
        """In torch; greedy rows among them take the argmax of their logits."""
        noisy = rows.temperature > 0
        scores = logits / torch.where(noisy, rows.temperature, 1.0).to(logits.dtype)[:, None]
        if filters:
            scores = top_k_top_p(scores, rows.top_k, rows.top_p)
            floor = scores.amax(-1, keepdim=True) + rows.min_p.to(scores.dtype).log()[:, None]
            scores = scores.masked_fill(scores < floor, float("-inf"))
        scores = scores + self.noise(rows.seed, positions, scores.dtype)
        return torch.where(noisy, scores.argmax(-1), logits.argmax(-1))

    @staticmethod
    def _fused(logits: Tensor, rows: RowSettings, positions: Tensor, filters: bool) -> Tensor:
        from engine.sampling.kernels.noisy_argmax import noisy_argmax
        from engine.sampling.kernels.thresholds import thresholds

        temperature, top_p, min_p = (each.to(torch.float32) for each in (rows.temperature, rows.top_p, rows.min_p))
        least = thresholds(logits, Filters(temperature, rows.top_k, top_p, min_p)) if filters else None
        tokens: Tensor = noisy_argmax(logits, temperature, rows.seed, positions, least)
        return tokens


def _per_row(setting: Tensor, each: int) -> Tensor:
    """[batch] to [batch · each]."""
    return setting[:, None].expand(-1, each).flatten()
