"""Temperature, top-k, top-p and min-p over a batch of rows with settings of their own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from engine.params import SamplingParams


class Filters(NamedTuple):
    """Settings of rows as kernels read them, [rows]: float32, and top_k int64; 0 or the vocabulary is no top-k."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor

    @classmethod
    def of(cls, params: list[SamplingParams], device: torch.device) -> Filters:
        """One row for each of these."""
        floats = ([p.temperature for p in params], [p.top_p for p in params], [p.min_p for p in params])
        temperature, top_p, min_p = (torch.tensor(each, dtype=torch.float32, device=device) for each in floats)
        top_k = torch.tensor([max(p.top_k, 0) for p in params], dtype=torch.int64, device=device)
        return cls(temperature, top_k, top_p, min_p)


def filtered_log_probs(logits: Tensor, params: list[SamplingParams]) -> Tensor:
    """Scores whose softmax is the distribution to sample from: logits [rows, vocab], positive temperatures.

    Tokens that a filter removes become -inf. Order: temperature, top-k, top-p over what top-k left, min-p.
    """
    device, dtype = logits.device, logits.dtype
    scores = logits / torch.tensor([p.temperature for p in params], dtype=dtype, device=device)[:, None]
    sorting = [i for i, p in enumerate(params) if p.top_k > 0 or p.top_p < 1.0]
    if sorting:
        rows = torch.tensor(sorting, device=device)
        ks = [params[i].top_k if params[i].top_k > 0 else scores.shape[-1] for i in sorting]
        top_p = torch.tensor([params[i].top_p for i in sorting], dtype=dtype, device=device)
        scores[rows] = top_k_top_p(scores[rows], torch.tensor(ks, device=device), top_p)
    if any(p.min_p > 0 for p in params):
        floor = torch.tensor([p.min_p for p in params], dtype=dtype, device=device).log()[:, None]
        scores = scores.masked_fill(scores < scores.amax(-1, keepdim=True) + floor, float("-inf"))
    return scores


def has_filter(params: SamplingParams) -> bool:
    """Whether some tokens cannot win a draw with these settings."""
    return params.temperature > 0 and (params.top_k > 0 or params.top_p < 1.0 or params.min_p > 0)


def top_k_top_p(scores: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """Keep the k best tokens, and of these the smallest set whose probability reaches p; ties at the edge stay.

    scores [rows, vocab]; top_k int64 [rows], at least 1, the vocabulary or more where there is none; top_p [rows].
    """
    ordered = scores.sort(-1, descending=True).values
    beyond = torch.arange(scores.shape[-1], device=scores.device) >= top_k[:, None]
    ordered = ordered.masked_fill(beyond, float("-inf"))
    p = top_p.to(scores.dtype)[:, None]
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    # a sum that rounds up to 1 must not cut a row without top-p
    kept = ((before < p) | (p >= 1)) & (ordered > float("-inf"))
    threshold = ordered.masked_fill(~kept, float("inf")).amin(-1, keepdim=True)
    return scores.masked_fill(scores < threshold, float("-inf"))
