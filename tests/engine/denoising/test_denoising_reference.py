"""Every denoising scheme says what a plain single-sequence reference says, however it is batched and preempted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.engine import Engine
from engine.messages import Submit
from models.checkpoint import load_decoder
from tests.engine.denoising.cases import CASES, Case, requests
from tests.engine.denoising.reference import Text
from tests.engine.drive import Done, make_engine, run
from tests.engine.drive import request as ask
from tests.engine.tiny import EOS


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def folder(case: Case, request: pytest.FixtureRequest) -> Path:
    made: Path = request.getfixturevalue(case.checkpoint)
    return made


def told(folder: Path, case: Case, asked: list[Submit]) -> dict[str, Text]:
    decoder = load_decoder(folder, torch.float64)
    return {submit.request_id: case.text(decoder, submit) for submit in asked}


def compare(expected: dict[str, Text], done: dict[str, Done]) -> None:
    for request_id, text in expected.items():
        answer, said = done[request_id], text.said()
        assert answer.error is None
        assert answer.token_ids == said
        assert answer.finish_reason == ("stop" if said[-1] == EOS and not text.submit.params.ignore_eos else "length")
        if text.submit.params.logprobs is not None:
            wanted = [text.logprobs[text.prompt_len + i] for i in range(len(said))]
            assert [each.token_id for each in answer.logprobs] == said
            assert [each.logprob for each in answer.logprobs] == pytest.approx(wanted, abs=1e-9)


def engine_for(folder: Path, case: Case, **settings: Any) -> Engine:
    return make_engine(folder, **{"page_size": 4, "max_num_batched_tokens": 64, **case.settings, **settings})


def test_alone_it_says_what_the_reference_says_forward_by_forward(case: Case, folder: Path) -> None:
    asked = requests(7, seed=1)
    expected = told(folder, case, asked)
    for submit in asked:
        engine = engine_for(folder, case)
        done = run(engine, [submit])
        compare({submit.request_id: expected[submit.request_id]}, done)
        assert engine.stats().steps == expected[submit.request_id].forwards


def test_batched_with_others_and_preempted_it_says_the_same(case: Case, folder: Path) -> None:
    asked = requests(28, seed=2)
    expected = told(folder, case, asked)
    engine = engine_for(folder, case, max_num_batched_tokens=70, num_pages=13, max_num_seqs=9, max_model_len=44)
    compare(expected, run(engine, asked))
    if case.caches:
        assert engine.stats().preemptions > 2


def test_some_outputs_take_fewer_forwards_than_tokens(case: Case, folder: Path) -> None:
    """Else the comparisons above would not show that several tokens are decided at once."""
    if case.settings.keys().isdisjoint({"denoise_threshold", "denoise_steps"}):
        pytest.skip("one token per forward is what these settings say")
    expected = told(folder, case, requests(7, seed=1))
    assert any(text.forwards < len(text.said()) for text in expected.values())


def test_at_the_contexts_end_masks_past_it_change_no_token_before_it(case: Case, folder: Path) -> None:
    """Blocks reach beyond the last position there; the reference holds them at it too."""
    asked = [ask("a", [5 + i % 50 for i in range(119)], max_tokens=9, ignore_eos=True)]
    compare(told(folder, case, asked), run(engine_for(folder, case, max_num_batched_tokens=150), asked))
