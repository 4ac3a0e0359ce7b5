"""Bad words: token sequences that never appear in an output, wherever a step's drafts begin and end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.messages import Submit
from engine.params import SamplingParams
from engine.sampling.row import Row
from engine.sampling.sampler import Sampler
from tests.engine.drive import acceptance, endings, make_engine, run, tokens
from tests.engine.drive import request as ask
from tests.engine.sampling.enumerate import sequence_of
from tests.engine.tiny import FIRST, VOCAB
from tests.engine.workload import prompts

#: pairs, triples and single tokens that a model that counts says all the time
BAD_WORDS = [[n, n + 1] for n in range(FIRST, VOCAB - 1, 5)] + [[n, n + 1, n + 2] for n in range(9, 60, 7)] + [[30]]


def holds(output: list[int], word: list[int]) -> bool:
    return any(output[at : at + len(word)] == word for at in range(len(output)))


def workload(bad_words: list[list[int]]) -> list[Submit]:
    settings: list[dict[str, Any]] = [{}, {"temperature": 0.8, "top_p": 0.95}, {"repetition_penalty": 1.2}]
    return [
        ask(f"{i}", prompt, max_tokens=24, seed=i, ignore_eos=True, bad_words=bad_words, **settings[i % len(settings)])
        for i, prompt in enumerate(prompts(60))
    ]


@pytest.mark.parametrize("k", [2, 4, 8])
def test_drafting_changes_no_token_and_no_output_holds_a_bad_word(learned: Path, k: int) -> None:
    plain = run(make_engine(learned, decoding="ar", max_num_seqs=1), workload(BAD_WORDS))
    engine = make_engine(learned, decoding="tidar", draft_length=k, predrafts="full")
    drafted = run(engine, workload(BAD_WORDS))
    assert endings(drafted) == endings(plain)
    assert acceptance(engine) > 1.1
    assert not [word for output in tokens(drafted).values() for word in BAD_WORDS if holds(output, word)]


def test_without_the_ban_every_bad_word_is_said(learned: Path) -> None:
    said = tokens(run(make_engine(learned), workload([])))
    heard = [word for word in BAD_WORDS if any(holds(output, word) for output in said.values())]
    assert len(heard) > len(BAD_WORDS) // 2


def test_a_preempted_sequence_remembers_what_it_said(learned: Path) -> None:
    plain = run(make_engine(learned, decoding="ar", max_num_seqs=1), workload(BAD_WORDS))
    engine = make_engine(learned, draft_length=4, predrafts="full", page_size=4, num_pages=128 // 4 + 8)
    assert endings(run(engine, workload(BAD_WORDS))) == endings(plain)
    assert engine.stats().preemptions > 5


@pytest.mark.parametrize(
    ("output", "drafts", "banned"),
    [
        ([], [], {4}),  # the prompt's tokens do not count
        ([8], [], {4, 9}),
        ([7, 8], [], {4, 9}),
        ([8], [9], {4, 10}),
        ([], [8, 9], {4, 10}),
        ([8], [8], {4, 9}),
        ([8, 9], [11], {4}),
    ],
)
def test_a_row_sees_the_output_and_the_drafts_before_it(output: list[int], drafts: list[int], banned: set[int]) -> None:
    params = SamplingParams(temperature=0.0, bad_words=[[4], [8, 9], [8, 9, 10]])
    sequence = sequence_of([5, 8], output, params, seed=0)
    row = Row(sequence, len(sequence.tokens) + len(drafts), drafts)
    scores = Sampler(16, torch.device("cpu")).scores(torch.zeros(1, 16), [row])[0]
    assert set(torch.isinf(scores).nonzero().flatten().tolist()) == banned


def test_where_nothing_else_may_be_said_a_bad_word_may() -> None:
    params = SamplingParams(temperature=1.0, allowed_token_ids=[4], bad_words=[[4]])
    row = Row(sequence_of([5], [], params, seed=0), 1, [])
    assert Sampler(16, torch.device("cpu")).sample(torch.zeros(1, 16), [row]) == [4]
