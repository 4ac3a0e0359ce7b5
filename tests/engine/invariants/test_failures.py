"""Invariant 6: a malformed request never reaches the scheduler, and a failing one never fails its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.errors import RequestError
from engine.messages import Submit
from engine.params import SamplingParams
from tests.engine.drive import Done, endings, make_engine, request, run
from tests.engine.tiny import CONTEXT, EOS, VOCAB
from tests.engine.workload import prompts, workload

INF, NAN = float("inf"), float("nan")

MALFORMED: list[tuple[str, list[int], dict[str, Any]]] = [
    ("prompt", [], {}),
    ("prompt", [5, VOCAB], {}),
    ("prompt", [-1, 5], {}),
    ("prompt", [5] * CONTEXT, {}),
    ("prompt", [5] * CONTEXT, {"max_tokens": None}),
    ("max_tokens", [5] * (CONTEXT - 4), {"max_tokens": 5}),
    ("max_tokens", [5], {"max_tokens": 0}),
    ("min_tokens", [5], {"min_tokens": -1}),
    ("min_tokens", [5], {"min_tokens": 17, "max_tokens": 16}),
    ("temperature", [5], {"temperature": -0.1}),
    ("temperature", [5], {"temperature": NAN}),
    ("temperature", [5], {"temperature": INF}),
    ("top_k", [5], {"top_k": -2}),
    ("top_p", [5], {"top_p": 0.0}),
    ("top_p", [5], {"top_p": 1.1}),
    ("top_p", [5], {"top_p": NAN}),
    ("min_p", [5], {"min_p": 1.5}),
    ("min_p", [5], {"min_p": NAN}),
    ("repetition_penalty", [5], {"repetition_penalty": 0.0}),
    ("repetition_penalty", [5], {"repetition_penalty": INF}),
    ("repetition_penalty", [5], {"repetition_penalty": NAN}),
    ("presence_penalty", [5], {"presence_penalty": 2.5}),
    ("frequency_penalty", [5], {"frequency_penalty": NAN}),
    ("logit_bias", [5], {"logit_bias": {VOCAB: 1.0}}),
    ("logit_bias", [5], {"logit_bias": {5: INF}}),
    ("min_tokens", [5], {"min_tokens": 1, "allowed_token_ids": [EOS, 9], "stop_token_ids": [9]}),
    ("allowed_token_ids", [5], {"allowed_token_ids": []}),
    ("allowed_token_ids", [5], {"allowed_token_ids": [-1]}),
    ("stop_token_ids", [5], {"stop_token_ids": [VOCAB]}),
    ("logprobs", [5], {"logprobs": 21}),
    ("logprobs", [5], {"logprobs": -1}),
    ("prompt_logprobs", [5], {"prompt_logprobs": 99}),
    ("seed", [5], {"seed": 2**64}),
    ("seed", [5], {"seed": -(2**63) - 1}),
]


def _name(case: object) -> str:
    return str(case) if len(str(case)) < 40 else "long"


@pytest.mark.parametrize(("param", "prompt", "params"), MALFORMED, ids=_name)
def test_a_malformed_request_is_refused_by_the_name_of_its_fault(
    engine: Engine, param: str, prompt: list[int], params: dict[str, Any]
) -> None:
    engine.submit(request("neighbour", [5, 6, 7]))
    with pytest.raises(RequestError) as refused:
        engine.submit(request("bad", prompt, **params))
    assert refused.value.param == param
    assert str(refused.value).endswith(".") and str(refused.value).count(". ") == 0
    assert [sequence.request_id for sequence in engine.scheduler] == ["neighbour"]


def test_a_second_request_under_a_running_id_is_refused(engine: Engine) -> None:
    engine.submit(request("twin", [5]))
    with pytest.raises(RequestError) as refused:
        engine.submit(request("twin", [6]))
    assert refused.value.param == "request_id"


@pytest.fixture
def engine(random_qwen3: Path) -> Engine:
    return make_engine(random_qwen3, draft_length=4)


def test_refused_requests_leave_neighbours_as_they_were(learned: Path) -> None:
    expected = endings(run(make_engine(learned, draft_length=4), workload(10)))

    def pester(engine: Engine) -> None:
        for _, prompt, params in MALFORMED:
            with pytest.raises(RequestError):
                engine.submit(Submit(request_id="bad", prompt_token_ids=prompt, params=SamplingParams(**params)))

    assert endings(run(make_engine(learned, draft_length=4), workload(10), pester)) == expected


def damage(engine: Engine, request_id: str, value: float) -> None:
    """Overwrite the cached K/V of one request."""
    size, storage = engine.config.page_size, engine.runner.attention.storage
    for sequence in engine.scheduler.running:
        if sequence.request_id == request_id:
            for page in sequence.pages:
                storage.slots[:, page * size : (page + 1) * size] = value


def split(done: dict[str, Done], failed: str) -> tuple[Done, dict[str, Done]]:
    return done[failed], {key: answer for key, answer in done.items() if key != failed}


@pytest.mark.parametrize("predrafts", ["full", "none"])
@pytest.mark.parametrize("when", [1, 3, 6])
def test_a_request_whose_logits_become_nan_fails_alone(learned: Path, when: int, predrafts: str) -> None:
    asked = [*workload(10), request("doomed", [7] * 9, max_tokens=60, ignore_eos=True)]
    expected = endings(run(make_engine(learned, draft_length=4), workload(10)))
    engine = make_engine(learned, draft_length=4, predrafts=predrafts)
    steps = 0

    def strike(engine: Engine) -> None:
        nonlocal steps
        steps += 1
        if steps == when + 1:
            damage(engine, "doomed", NAN)

    doomed, others = split(run(engine, asked, strike), "doomed")
    assert doomed.finish_reason == "error"
    assert doomed.error is not None and "not numbers" in doomed.error
    assert len(doomed.token_ids) < 60
    assert endings(others) == expected
    assert engine.scheduler.pool.used == 0


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_prompt_that_breaks_the_model_fails_alone(random_llama: Path, value: float) -> None:
    """The embedding of one token is damaged; only prompts with that token meet it, since no output may hold it."""
    damaged = 63
    healthy = [
        request(f"{i}", [t for t in prompt if t != damaged] or [5], temperature=0.8, seed=i, logit_bias={damaged: -100})
        for i, prompt in enumerate(prompts(10))
    ]
    doomed = [request(f"doomed-{length}", [9] * length + [damaged, 8]) for length in (1, 30, 60)]
    expected = endings(run(make_engine(random_llama, draft_length=4), healthy))
    engine = make_engine(random_llama, draft_length=4, max_num_batched_tokens=40, page_size=4)
    engine.runner.model.embed.weight[damaged] = value
    done = run(engine, [*doomed, *healthy])
    assert all(done.pop(asked.request_id).finish_reason == "error" for asked in doomed)
    assert endings(done) == expected


def test_the_engine_serves_the_same_prompt_again_after_a_failure(learned: Path) -> None:
    engine = make_engine(learned, draft_length=4, page_size=4)
    asked = request("x", [7] * 9, max_tokens=20, ignore_eos=True)
    healthy = run(make_engine(learned), [asked])["x"]
    steps = 0

    def strike(engine: Engine) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            damage(engine, "x", NAN)

    assert run(engine, [asked], strike)["x"].finish_reason == "error"
    assert run(engine, [asked])["x"].token_ids == healthy.token_ids
