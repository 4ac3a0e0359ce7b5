"""Log-probabilities are log_softmax of the raw AR logits, with ranks counted from one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.messages import TokenLogprobs
from engine.sampling.logprobs import token_logprobs
from models.checkpoint import load_decoder
from tests.engine.drive import make_engine, request, run
from tests.engine.reference import causal_logits
from tests.engine.workload import prompts


@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_against_log_softmax(count: int) -> None:
    logits = torch.randn(30, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    chosen = [i % 20 for i in range(30)]
    expected = logits.log_softmax(-1)
    for row, entry in enumerate(token_logprobs(logits, chosen, count)):
        order = sorted(range(20), key=lambda token: -expected[row, token])
        assert entry.token_id == chosen[row]
        assert entry.logprob == pytest.approx(float(expected[row, chosen[row]]), abs=1e-12)
        assert entry.rank == order.index(chosen[row]) + 1
        assert entry.top_ids == order[:count]
        assert entry.top_logprobs == pytest.approx([float(expected[row, token]) for token in order[:count]], abs=1e-12)


def test_more_than_the_vocabulary_is_the_vocabulary() -> None:
    (entry,) = token_logprobs(torch.zeros(1, 4), [2], 20)
    assert (len(entry.top_ids), entry.rank) == (4, 1)


@pytest.mark.parametrize("budget", [1024, 17])
@pytest.mark.parametrize("k", [1, 4, 8])
def test_every_token_of_a_multi_token_step_has_the_plain_forwards_logprobs(learned: Path, k: int, budget: int) -> None:
    """Of the prompt as of the output, whatever the sampling settings, and through preemption."""
    engine = make_engine(learned, draft_length=k, max_num_batched_tokens=budget, page_size=4, num_pages=40)
    asked = [
        request(f"{i}", p, temperature=0.8, top_k=9, presence_penalty=0.5, seed=i, logprobs=3, prompt_logprobs=2)
        for i, p in enumerate(prompts(8))
    ]
    done = run(engine, asked)
    assert engine.stats().preemptions > 0
    decoder = load_decoder(learned, torch.float64)
    for submit in asked:
        answer, prompt = done[submit.request_id], submit.prompt_token_ids
        logits = causal_logits(decoder, prompt + answer.token_ids)[:-1]
        expected = token_logprobs(logits, (prompt + answer.token_ids)[1:], 3)
        assert answer.prompt_logprobs is not None and answer.prompt_logprobs[0] is None
        assert len(answer.prompt_logprobs) == len(prompt)
        for got, wanted in zip(answer.prompt_logprobs[1:], expected, strict=False):
            assert got is not None
            same(got, wanted, 2)
        for got, wanted in zip(answer.logprobs, expected[len(prompt) - 1 :], strict=True):
            same(got, wanted, 3)


def same(got: TokenLogprobs, wanted: TokenLogprobs, count: int) -> None:
    assert (got.token_id, got.rank, got.top_ids) == (wanted.token_id, wanted.rank, wanted.top_ids[:count])
    assert got.logprob == pytest.approx(wanted.logprob, abs=1e-9)
    assert got.top_logprobs == pytest.approx(wanted.top_logprobs[:count], abs=1e-9)
