"""Filters keep the tokens that brute force keeps, whatever else is in the batch."""

from __future__ import annotations

import math

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.params import SamplingParams
from engine.sampling.filters import filtered_log_probs
from tests.engine.sampling.enumerate import distribution, softmax

logits = st.lists(st.integers(-400, 400), min_size=6, max_size=6, unique=True).map(lambda xs: [x / 100 for x in xs])
params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    top_k=st.integers(-1, 8),
    top_p=st.sampled_from([0.05, 0.3, 0.77, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.03, 0.4, 1.0]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(logits, params), min_size=1, max_size=5))
def test_every_row_is_filtered_as_it_alone_asks(rows: list[tuple[list[float], SamplingParams]]) -> None:
    for row, asked in rows:
        assume(_clear_cut(row, asked))
    scores = filtered_log_probs(
        torch.tensor([row for row, _ in rows], dtype=torch.float64), [asked for _, asked in rows]
    )
    expected = torch.tensor([distribution(row, asked) for row, asked in rows], dtype=torch.float64)
    torch.testing.assert_close(scores.softmax(-1), expected, rtol=0, atol=1e-12)


def _clear_cut(row: list[float], asked: SamplingParams) -> bool:
    """No cumulative probability or floor lies so close to its limit that rounding decides."""
    weights = sorted(softmax([x / asked.temperature for x in row]), reverse=True)
    weights = weights[: asked.top_k] if asked.top_k > 0 else weights
    reached = [sum(weights[: i + 1]) / sum(weights) for i in range(len(weights))]
    near_p = any(math.isclose(r, asked.top_p, rel_tol=1e-9) for r in reached) and asked.top_p < 1
    near_floor = any(math.isclose(w, asked.min_p * weights[0], rel_tol=1e-9) for w in weights[1:])
    return not near_p and not near_floor


def test_ties_at_the_edge_of_top_k_and_top_p_all_stay() -> None:
    tied = torch.tensor([[1.0, 3.0, 1.0, 1.0, -5.0]], dtype=torch.float64)
    for asked in (SamplingParams(top_k=2), SamplingParams(top_p=0.75)):
        kept = filtered_log_probs(tied, [asked]).isfinite()[0].tolist()
        assert kept == [True, True, True, True, False]


def test_the_best_token_always_stays() -> None:
    row = torch.tensor([[0.0, 4.0, 1.0]], dtype=torch.float64)
    for asked in (SamplingParams(top_k=1), SamplingParams(top_p=1e-9), SamplingParams(min_p=1.0)):
        assert filtered_log_probs(row, [asked]).isfinite()[0].tolist() == [False, True, False]


def test_filters_that_are_off_only_divide_by_the_temperature() -> None:
    row = torch.tensor([[0.5, -1.0, 3.0]])
    asked = SamplingParams(temperature=0.5, top_k=-1, top_p=1.0, min_p=0.0)
    assert torch.equal(filtered_log_probs(row, [asked]), row / 0.5)


def test_a_running_sum_that_rounds_up_to_one_cuts_nothing() -> None:
    row = 6 * torch.randn(1, 5000, generator=torch.Generator().manual_seed(0))
    before = row.sort(descending=True).values.softmax(-1).cumsum(-1)
    assert (before >= 1).any()
    assert filtered_log_probs(row, [SamplingParams(top_k=5000)]).isfinite().all()


def test_the_given_logits_are_left_alone() -> None:
    row = torch.tensor([[0.5, -1.0, 3.0]])
    filtered_log_probs(row, [SamplingParams(temperature=0.7, top_k=1, min_p=0.5)])
    assert row.tolist() == [[0.5, -1.0, 3.0]]
