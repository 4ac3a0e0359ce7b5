"""Drafts decide how fast tokens come, never which: forced all right, all wrong or at random, the output stays."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.engine import Engine
from engine.sequence import Sequence
from tests.engine.drive import Done, EachStep, acceptance, endings, make_engine, request, run
from tests.engine.tiny import VOCAB
from tests.engine.workload import prompts

Guess = Callable[[Sequence, list[int]], list[int]]


def forcing(answers: dict[str, Done], k: int, guess: Guess) -> EachStep:
    """Before every step, replace the drafts of each decoding sequence; `guess` is told the tokens that will come."""

    def force(engine: Engine) -> None:
        for sequence in engine.scheduler.running:
            if sequence.decoding:
                coming = answers[sequence.request_id].token_ids[sequence.output_len :][: k - 1]
                sequence.drafts = guess(sequence, coming)

    return force


def right(sequence: Sequence, coming: list[int]) -> list[int]:
    return coming


def wrong(sequence: Sequence, coming: list[int]) -> list[int]:
    return [(token + 1) % VOCAB for token in coming]


def mixed(sequence: Sequence, coming: list[int]) -> list[int]:
    rng = random.Random(f"{sequence.request_id} {sequence.output_len}")
    return [token if rng.random() < 0.7 else rng.randrange(VOCAB) for token in coming]


@pytest.fixture(params=[0.0, 0.8], ids=["greedy", "seeded"])
def temperature(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.mark.parametrize("predrafts", ["full", "none"])
@pytest.mark.parametrize("k", [2, 4, 8])
def test_forced_drafts_change_the_pace_and_nothing_else(
    learned: Path, k: int, predrafts: str, temperature: float
) -> None:
    asked = [
        request(f"{i}", prompt, temperature=temperature, seed=i, max_tokens=1 + 3 * k, ignore_eos=True)
        for i, prompt in enumerate(prompts(20))
    ]
    answers = run(make_engine(learned, decoding="ar"), asked)
    pace = {}
    for guess in (right, wrong, mixed):
        engine = make_engine(learned, decoding="tidar", draft_length=k, predrafts=predrafts)
        done = run(engine, asked, forcing(answers, k, guess))
        assert endings(done) == endings(answers)
        pace[guess] = acceptance(engine)
    assert pace[right] == k
    assert pace[wrong] == 1
    assert 1 < pace[mixed] < k


def test_right_drafts_under_preemption_are_still_several_per_forward(learned: Path, temperature: float) -> None:
    asked = [
        request(f"{i}", prompt, temperature=temperature, seed=i, max_tokens=40, ignore_eos=True)
        for i, prompt in enumerate(prompts(30))
    ]
    answers = run(make_engine(learned, decoding="ar"), asked)
    engine = make_engine(learned, decoding="tidar", draft_length=4, predrafts="full", page_size=4, num_pages=40)
    assert endings(run(engine, asked, forcing(answers, 4, right))) == endings(answers)
    assert engine.stats().preemptions > 0
    assert acceptance(engine) > 3
