"""The distribution a request asks for, worked out token by token in plain Python."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.messages import Submit
from engine.params import SamplingParams
from engine.sampling.row import Row
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence


def sequence_of(prompt: list[int], output: list[int], params: SamplingParams, seed: int = 0) -> Sequence:
    """A sequence that has said `output` after `prompt`; token 1 would stop it."""
    sequence = Sequence(Submit(request_id="x", prompt_token_ids=prompt, params=params), seed, 10**6, frozenset({1}))
    sequence.tokens += output
    return sequence


def processed(logits: list[float], params: SamplingParams, prompt: list[int], output: list[int]) -> list[float]:
    """Logits after penalties, bias, allowed tokens and minimum length."""
    changed = list(logits)
    for token in range(len(changed)):
        if token in prompt + output:
            penalty = params.repetition_penalty
            changed[token] = changed[token] / penalty if changed[token] > 0 else changed[token] * penalty
        times = output.count(token)
        changed[token] -= params.frequency_penalty * times + params.presence_penalty * (times > 0)
        changed[token] += params.logit_bias.get(token, 0.0)
        if params.allowed_token_ids is not None and token not in params.allowed_token_ids:
            changed[token] = -math.inf
    if len(output) < params.min_tokens:
        changed[1] = -math.inf
    return changed


def distribution(logits: list[float], params: SamplingParams) -> list[float]:
    """Probabilities after temperature, then top-k, then top-p among what is left, then min-p; no ties in `logits`."""
    weights = softmax([logit / params.temperature for logit in logits])
    order = sorted(range(len(weights)), key=lambda token: -weights[token])
    if params.top_k > 0:
        order = order[: params.top_k]
    total, reached, kept = sum(weights[token] for token in order), 0.0, []
    for token in order:
        if reached < params.top_p:
            kept.append(token)
        reached += weights[token] / total
    floor = params.min_p * weights[order[0]]
    kept = [token for token in kept if weights[token] >= floor]
    total = sum(weights[token] for token in kept)
    return [weights[token] / total if token in kept else 0.0 for token in range(len(weights))]


def softmax(logits: list[float]) -> list[float]:
    highest = max(logits)
    weights = [math.exp(logit - highest) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def draw(
    logits: list[float],
    params: SamplingParams,
    count: int,
    prompt: list[int] | None = None,
    output: list[int] | None = None,
    dtype: torch.dtype = torch.float64,
    positions: int = 100,
) -> Tensor:
    """int64 [count] of samples from one row of logits: so many positions under each of as many seeds as it takes."""
    sampler = Sampler(len(logits), torch.device("cpu"))
    drawn: list[int] = []
    for start in range(0, count, positions):
        sequence = sequence_of(prompt or [0], output or [], params, seed=7919 * start - 10**9)
        rows = [Row(sequence, len(sequence.tokens) + i, []) for i in range(min(positions, count - start))]
        drawn += sampler.sample(torch.tensor(logits, dtype=dtype).expand(len(rows), -1), rows)
    return torch.tensor(drawn)
