"""Thresholds found without a sort let the same tokens pass as the filters that sort."""

from __future__ import annotations

import random
from itertools import product

import msgspec
import pytest
import torch
from torch import Tensor

from engine.params import SamplingParams
from engine.sampling.filters import Filters, filtered_log_probs
from engine.sampling.kernels.thresholds import BLOCK, thresholds

#: a GPU where there is one, else Triton's interpreter (see tests/__init__.py)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
VOCAB = 300
INF = float("inf")
#: shares of probability so close to a limit may fall on either side of it
CLOSE = 1e-5


def kept(logits: Tensor, params: list[SamplingParams]) -> Tensor:
    """Who passes, bool [rows, vocab]."""
    filters = Filters.of(params, DEVICE)
    scores = logits.to(DEVICE) / filters.temperature[:, None]
    return (scores >= thresholds(logits.to(DEVICE), filters)[:, None]).cpu()


def sorted_out(logits: Tensor, params: list[SamplingParams], nudge: float = 1.0) -> Tensor:
    """The same by sorting, in float64 from the float32 scores on, with the shares times `nudge`."""
    scores = logits / torch.tensor([p.temperature for p in params])[:, None]
    nudged = [
        msgspec.structs.replace(
            p, temperature=1.0, top_p=min(1.0, p.top_p * nudge) if p.top_p < 1 else 1.0, min_p=min(1.0, p.min_p * nudge)
        )
        for p in params
    ]
    return filtered_log_probs(scores.double(), nudged) > -INF


def check(logits: Tensor, params: list[SamplingParams]) -> int:
    """Compare the rows in which rounding decides nothing, and count them."""
    clear = (sorted_out(logits, params, 1 - CLOSE) == sorted_out(logits, params, 1 + CLOSE)).all(-1)
    # nobody asks for a token that cannot come
    passed = kept(logits, params) & (logits > -INF)
    assert torch.equal(passed[clear], sorted_out(logits, params)[clear])
    return int(clear.sum())


def random_logits(rows: int, vocab: int, seed: int) -> Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("coarse", [False, True], ids=["all different", "many ties"])
def test_every_mix_of_settings_keeps_what_a_sort_keeps(coarse: bool) -> None:
    mixes = list(product([0.4, 1.0, 2.5], [0, -1, 1, 7, VOCAB - 1, VOCAB, 10**6], [1.0, 0.95, 0.4, 1e-6], [0.0, 0.08]))
    mixes = random.Random(int(coarse)).sample(mixes, 32)
    params = [SamplingParams(temperature=t, top_k=k, top_p=p, min_p=m) for t, k, p, m in mixes]
    logits = random_logits(len(params), VOCAB, 1)
    assert check((logits * 2).round() / 4 if coarse else logits, params) > 25


def test_a_vocabulary_that_is_no_multiple_of_the_block() -> None:
    logits = random_logits(4, 2 * BLOCK + 77, 2)
    logits[1, -1] = 40.0
    logits[2, :BLOCK] = -INF
    params = [SamplingParams(top_k=50), SamplingParams(top_p=0.9), SamplingParams(top_k=9, top_p=0.8)]
    assert check(logits, [*params, SamplingParams(top_p=0.99, min_p=0.001)]) == 4


def test_ties_at_an_edge_all_stay_but_only_k_of_them_count_for_top_p() -> None:
    # half of what top-k leaves is the best token alone where two tokens tie below it, not where all four would count
    tied = torch.tensor([[1.0, 3.0, 1.0, 1.0, 1.0, -5.0]])
    assert kept(tied, [SamplingParams(top_k=2)]).tolist() == [[True, True, True, True, True, False]]
    best = float(torch.tensor([3.0, 1.0]).softmax(0)[0])
    for p, ties in ((best - 0.01, False), (best + 0.01, True)):
        params = [SamplingParams(top_k=2, top_p=p)]
        assert kept(tied, params).tolist() == [[ties, True, ties, ties, ties, False]]
        assert check(tied, params) == 1


def test_tokens_that_cannot_come_have_no_mass_and_fill_no_top_k() -> None:
    logits = torch.full((5, VOCAB), -INF)
    logits[:, [4, 70, 299]] = torch.tensor([1.0, 2.0, 1.5])
    logits[4, :] = -INF
    filters = [{"top_k": 2}, {"top_k": 20}, {"top_p": 0.7}, {"top_k": 20, "top_p": 0.99, "min_p": 0.5}, {"top_k": 2}]
    params = [SamplingParams(**each) for each in filters]
    left = (kept(logits, params) & (logits > -INF)).sum(-1).tolist()
    assert left == [2, 3, 2, 2, 0]
    assert check(logits[:4], params[:4]) == 4


def test_zeros_of_both_signs_tie() -> None:
    zeros = torch.tensor([[0.0, -0.0, -1.0, -0.0, -2.0]])
    for asked in ({"top_k": 1}, {"top_p": 0.01}, {"min_p": 1.0}):
        assert kept(zeros, [SamplingParams(**asked)]).tolist() == [[True, True, False, True, False]]


def test_every_tie_of_a_flat_row_stays() -> None:
    flat = torch.full((2, VOCAB), -2.5)
    assert kept(flat, [SamplingParams(top_k=3), SamplingParams(top_p=0.1, min_p=1.0)]).all()


def test_rows_without_filters_and_greedy_rows_have_no_threshold() -> None:
    asked = [{}, {"temperature": 0.0, "top_k": 3, "top_p": 0.5, "min_p": 0.5}, {"top_k": VOCAB}, {"top_k": -1}]
    found = thresholds(random_logits(4, VOCAB, 3).to(DEVICE), Filters.of([SamplingParams(**a) for a in asked], DEVICE))
    assert found.tolist() == [-INF] * 4


def test_a_row_has_the_same_threshold_alone_and_beside_broken_rows() -> None:
    logits = random_logits(6, VOCAB, 4)
    logits[1] = float("nan")
    logits[3, ::2] = float("nan")
    logits[4, 5] = INF
    asked = SamplingParams(temperature=0.8, top_k=40, top_p=0.9, min_p=0.01)
    # a batch's padding has no top-k but other settings
    params = [asked, asked, asked, asked, asked, SamplingParams(min_p=1.0)]
    together = thresholds(logits.to(DEVICE), Filters.of(params, DEVICE))
    for row in (0, 2, 5):
        alone = thresholds(logits[row : row + 1].to(DEVICE), Filters.of(params[row : row + 1], DEVICE))
        assert torch.equal(alone, together[row : row + 1])
    # what is left of a damaged row is filtered as if the damage were not there
    whole = logits[3].nan_to_num(-INF)[None]
    assert torch.equal(thresholds(whole.to(DEVICE), Filters.of([asked], DEVICE)), together[3:4])
    assert together[4] == INF
