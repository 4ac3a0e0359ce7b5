"""What is sampled follows the enumerated distribution, for every setting, at any number of draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.stats import chi2_contingency, chisquare
from torch import Tensor

from engine.params import SamplingParams
from tests.engine.sampling.enumerate import distribution, draw, processed

LOGITS = [0.3, 1.9, -0.8, 2.2, 1.1, -2.5, 0.6, 1.4, -0.1, 2.0, -1.3, 0.9]
PROMPT, OUTPUT = [3, 3, 7], [9, 4, 9, 9, 0]

#: with the noise a fixed function these tests always give the same answer; a right sampler fails one in 10,000
SIGNIFICANCE = 1e-4

PLAIN: list[dict[str, Any]] = [
    {},
    {"temperature": 0.8, "top_p": 0.95},
    {"temperature": 0.4},
    {"temperature": 2.5},
    {"top_k": 4},
    {"top_k": 1},
    {"top_p": 0.6},
    {"min_p": 0.2},
    {"temperature": 1.7, "top_k": 9, "top_p": 0.8, "min_p": 0.15},
]

PROCESSED: list[dict[str, Any]] = [
    {"repetition_penalty": 1.5},
    {"repetition_penalty": 0.8, "temperature": 0.7},
    {"presence_penalty": 1.2},
    {"frequency_penalty": 0.5},
    {"frequency_penalty": -0.4, "presence_penalty": 0.6, "repetition_penalty": 1.2, "top_p": 0.9},
    {"logit_bias": {5: 4.5, 3: -100.0}},
    {"allowed_token_ids": [0, 5, 9, 11], "top_k": 3},
    {"min_tokens": 6},
]


def p_value(drawn: Tensor, expected: list[float]) -> float:
    """Chi-square p-value; tokens of probability zero must not occur at all."""
    counts = torch.bincount(drawn, minlength=len(expected)).tolist()
    assert all(count == 0 for count, p in zip(counts, expected, strict=True) if p == 0)
    pairs = [(count, p * len(drawn)) for count, p in zip(counts, expected, strict=True) if p > 0]
    return float(chisquare(*zip(*pairs, strict=True)).pvalue) if len(pairs) > 1 else 1.0


@pytest.mark.parametrize("settings", PLAIN, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_filters_and_temperature(settings: dict[str, Any], dtype: torch.dtype) -> None:
    params = SamplingParams(**settings)
    assert p_value(draw(LOGITS, params, 100_000, dtype=dtype), distribution(LOGITS, params)) > SIGNIFICANCE


@pytest.mark.parametrize("settings", PROCESSED, ids=str)
def test_penalties_bias_and_bans(settings: dict[str, Any]) -> None:
    params = SamplingParams(**settings)
    expected = distribution(processed(LOGITS, params, PROMPT, OUTPUT), params)
    assert p_value(draw(LOGITS, params, 2_000, PROMPT, OUTPUT, positions=1), expected) > SIGNIFICANCE


def test_the_chi_square_test_would_notice_a_wrong_filter() -> None:
    drawn = draw(LOGITS, SamplingParams(temperature=0.8), 10_000)
    assert p_value(drawn, distribution(LOGITS, SamplingParams(temperature=0.9))) < SIGNIFICANCE


def test_the_empirical_distribution_converges_at_the_rate_of_independent_draws() -> None:
    params = SamplingParams(temperature=0.8, top_p=0.95)
    expected = torch.tensor(distribution(LOGITS, params), dtype=torch.float64)
    drawn = draw(LOGITS, params, 100_000)
    # an independent sampler is off by sum sqrt(p (1 - p) / n) · sqrt(2 / pi) on average; twice that is a wide berth
    for count in (10, 100, 1_000, 10_000, 100_000):
        observed = torch.bincount(drawn[:count], minlength=len(LOGITS)) / count
        usual = (expected * (1 - expected) / count).sqrt().sum() * (2 / torch.pi) ** 0.5
        assert (observed - expected).abs().sum() < 2 * usual


@pytest.mark.parametrize("distance", [1, 2, 16, 100])
def test_draws_at_neighbouring_positions_and_seeds_are_independent(distance: int) -> None:
    drawn = draw(LOGITS, SamplingParams(), 100_000)
    table = torch.zeros(len(LOGITS), len(LOGITS), dtype=torch.int64)
    table.index_put_((drawn[:-distance], drawn[distance:]), torch.ones(1, dtype=torch.int64), accumulate=True)
    assert chi2_contingency(table.numpy()).pvalue > SIGNIFICANCE
