"""The sampler as a whole: greedy rows, penalties that see drafts, rows that do not mind their neighbours."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.params import SamplingParams
from engine.sampling.row import Row
from engine.sampling.sampler import NOTHING, Sampler
from tests.engine.sampling.enumerate import processed, sequence_of
from tests.engine.workload import SETTINGS

VOCAB = 64
SAMPLER = Sampler(VOCAB, torch.device("cpu"))
PROMPT, OUTPUT = [3, 5, 5, 40], [7, 9, 7, 20]


def logits(rows: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(rows, VOCAB, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def row(drafts: list[int] | None = None, seed: int = 0, **params: Any) -> Row:
    sequence = sequence_of(PROMPT, OUTPUT, SamplingParams(**params), seed)
    return Row(sequence, len(sequence.tokens) + len(drafts or []), drafts or [])


def test_temperature_zero_is_the_argmax() -> None:
    many = logits(50)
    assert SAMPLER.sample(many, [row(temperature=0.0, seed=i) for i in range(50)]) == many.argmax(-1).tolist()


def test_of_equal_logits_greedy_takes_the_first() -> None:
    tied = torch.zeros(1, VOCAB)
    assert SAMPLER.sample(tied, [row(temperature=0.0)]) == [0]


def test_top_k_one_is_the_argmax_at_any_temperature() -> None:
    many = logits(50)
    assert SAMPLER.sample(many, [row(temperature=3.0, top_k=1, seed=i) for i in range(50)]) == many.argmax(-1).tolist()


def test_a_draft_row_with_the_ar_rows_distribution_says_the_same_token() -> None:
    """The AR row of position p, after drafts, and the mask row drafted for p share their noise."""
    many = logits(200)
    after_drafts = [row([11, 12], seed=i, temperature=0.9) for i in range(200)]
    drafted = [Row(r.sequence, r.position, []) for r in after_drafts]
    # drafts are drawn from rows of other values: only the distribution counts, not the logits' offset
    assert SAMPLER.sample(many, after_drafts) == SAMPLER.sample(many + 5.0, drafted)


def test_a_row_says_the_same_alone_and_among_any_others() -> None:
    rng = random.Random(0)
    many = logits(60)
    rows = [row([4] * (i % 3), seed=i * 10**12, **_without_lengths(SETTINGS[i % len(SETTINGS)])) for i in range(60)]
    together = SAMPLER.sample(many, rows)
    assert [SAMPLER.sample(many[i : i + 1], [rows[i]])[0] for i in range(60)] == together
    order = rng.sample(range(60), 60)
    assert SAMPLER.sample(many[order], [rows[i] for i in order]) == [together[i] for i in order]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_processed_logits_are_those_worked_out_by_hand(settings: dict[str, Any]) -> None:
    """Greedy scores are the processed logits; drafts count as already said."""
    drafts = [9, 50]
    many = logits(1)
    asked = SamplingParams(**{**settings, "temperature": 0.0})
    scores = SAMPLER.scores(many, [row(drafts, **{**settings, "temperature": 0.0})])
    expected = processed(many[0].tolist(), asked, PROMPT, OUTPUT + drafts)
    torch.testing.assert_close(scores[0], torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=1e-14)


def test_drafts_are_penalised_like_tokens_that_were_said() -> None:
    penalties = {"presence_penalty": 0.9, "frequency_penalty": 0.7, "repetition_penalty": 1.3, "temperature": 1.0}
    drafted = row([13, 13, 2], **penalties)
    said = sequence_of(PROMPT, [*OUTPUT, 13, 13, 2], SamplingParams(**penalties))
    many = logits(1)
    assert torch.equal(SAMPLER.scores(many, [drafted]), SAMPLER.scores(many, [Row(said, len(said.tokens), [])]))


@pytest.mark.parametrize("drafted", range(5))
def test_min_tokens_bans_stop_ids_until_so_many_tokens_are_said_drafts_included(drafted: int) -> None:
    """Four tokens are out; the stop id is 1."""
    scores = SAMPLER.scores(logits(1), [row([8] * drafted, min_tokens=6, temperature=0.0)])
    assert (scores[0, 1] == float("-inf")) == (len(OUTPUT) + drafted < 6)


def test_the_given_logits_are_left_alone() -> None:
    many = logits(3)
    kept = many.clone()
    SAMPLER.sample(many, [row(logit_bias={3: 9.0}), row(temperature=0.0, presence_penalty=1.0), row(top_k=3)])
    assert torch.equal(many, kept)


def _without_lengths(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "stop_token_ids"}


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_where_a_grammar_and_the_bans_leave_nothing_no_token_is_said(temperature: float) -> None:
    nothing_left = row(temperature=temperature, allowed_token_ids=[9])
    nothing_left.allowed = np.array([1 << 3, 0], np.int32)
    free = row(temperature=temperature, allowed_token_ids=[9])
    free.allowed = np.array([1 << 9, 0], np.int32)
    assert SAMPLER.sample(logits(2), [nothing_left, free]) == [NOTHING, 9]
