"""The resident loop says what one-at-a-time decoding says, whatever joins, ends or is preempted on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engine.drive import Done, acceptance, endings, make_engine, request, run
from tests.engine.resident.ahead import make_resident, simple_workload, watched
from tests.engine.tiny import CONTEXT
from tests.engine.workload import prompts, workload


@pytest.fixture(scope="module")
def plain(learned: Path) -> dict[str, Done]:
    """Each request on its own, one token per forward."""
    engine = make_engine(learned, decoding="ar", max_num_seqs=1, enable_prefix_caching=False)
    return run(engine, simple_workload(70))


@pytest.mark.slow
@pytest.mark.parametrize("predrafts", ["full", "none", "1", "3"])
@pytest.mark.parametrize("k", [2, 4, 8])
def test_every_setting_says_what_ar_says(learned: Path, plain: dict[str, Done], k: int, predrafts: str) -> None:
    engine = make_resident(learned, decoding="tidar", draft_length=k, predrafts=predrafts)
    done, watch = watched(engine, simple_workload(70))
    assert endings(done) == endings(plain)
    assert watch.ahead > 20 and len(watch.batches) > 5
    assert acceptance(engine) > 1.05


def test_plain_autoregression_runs_ahead_too(learned: Path, plain: dict[str, Done]) -> None:
    engine = make_resident(learned, decoding="ar")
    done, watch = watched(engine, simple_workload(70))
    assert endings(done) == endings(plain)
    assert watch.ahead > 20


@pytest.mark.parametrize("predrafts", ["full", "none"])
def test_a_request_takes_the_steps_that_the_plain_loop_takes(learned: Path, predrafts: str) -> None:
    """Not only the tokens: with the same groups at hand, the same drafts are accepted in the same forwards."""
    settings = {"draft_length": 4, "predrafts": predrafts, "max_num_seqs": 1, "enable_prefix_caching": False}
    asked = simple_workload(21)
    plainly = run(make_engine(learned, **settings), asked)
    done, watch = watched(make_resident(learned, **settings), asked)
    assert watch.ahead > 50
    assert {key: answer.steps for key, answer in done.items()} == {key: answer.steps for key, answer in plainly.items()}


@pytest.mark.parametrize(
    "settings",
    [
        {"max_num_seqs": 3, "page_size": 1, "predrafts": "3"},
        {"max_num_seqs": 7, "max_num_batched_tokens": 60, "page_size": 4, "predrafts": "full"},
        {"max_num_seqs": 40, "max_num_batched_tokens": 333, "page_size": 64, "enable_prefix_caching": False},
        {"max_num_seqs": 9, "max_num_batched_tokens": 13, "page_size": 64},
    ],
)
def test_concurrency_budget_and_page_size_change_nothing(
    learned: Path, plain: dict[str, Done], settings: dict[str, Any]
) -> None:
    engine = make_resident(learned, decoding="tidar", draft_length=4, **settings)
    done, _ = watched(engine, simple_workload(35))
    assert endings(done) == {key: endings(plain)[key] for key in done}


@pytest.mark.parametrize("caching", [True, False], ids=["cached", "uncached"])
def test_a_preempted_stream_does_not_notice(learned: Path, plain: dict[str, Done], caching: bool) -> None:
    engine = make_resident(
        learned, draft_length=4, predrafts="full", page_size=4, num_pages=CONTEXT // 4 + 8,
        enable_prefix_caching=caching,
    )  # fmt: skip
    done, watch = watched(engine, simple_workload(40))
    assert endings(done) == {key: endings(plain)[key] for key in done}
    assert engine.stats().preemptions > 5
    assert watch.ahead > 20


@pytest.mark.parametrize("checkpoint", ["random_qwen3", "random_llama", "without_drafts"])
def test_random_weights_are_exact_too(checkpoint: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(checkpoint)
    expected = endings(run(make_engine(folder, decoding="ar", max_num_seqs=1), simple_workload(21)))
    decoding = "ar" if checkpoint == "without_drafts" else "tidar"
    engine = make_resident(folder, decoding=decoding, draft_length=4, predrafts="2")
    done, watch = watched(engine, simple_workload(21))
    assert endings(done) == expected
    assert watch.ahead > 20


def test_requests_that_need_the_host_take_the_plain_loop_and_the_others_come_back(learned: Path) -> None:
    asked = workload(12) + simple_workload(12)
    expected = endings(run(make_engine(learned, decoding="ar", max_num_seqs=1), asked))
    engine = make_resident(learned, draft_length=4, predrafts="full", max_num_seqs=4)
    done, watch = watched(engine, asked)
    assert endings(done) == expected
    assert 20 < watch.ahead < engine.stats().steps - 20
    assert all(len(answer.logprobs) in (0, len(answer.token_ids)) for answer in done.values())


def test_the_policy_may_change_its_mind_at_any_step(learned: Path, plain: dict[str, Done]) -> None:
    engine = make_resident(learned, decoding="tidar", draft_length=8, predrafts="auto")
    done, watch = watched(engine, simple_workload(70))
    assert endings(done) == endings(plain)
    assert watch.ahead > 20


def test_a_request_runs_to_the_end_of_the_context_in_a_pool_of_exactly_that(learned: Path) -> None:
    """The last windows reach beyond the context; what they write there goes to the scratch page."""
    settings = {"draft_length": 8, "predrafts": "full", "page_size": 8, "num_pages": CONTEXT // 8}
    asked = [request("x", prompts()[1], max_tokens=None, ignore_eos=True)]
    expected = endings(run(make_engine(learned, decoding="ar"), asked))
    done, watch = watched(make_resident(learned, **settings), asked)
    assert endings(done) == expected
    assert done["x"].finish_reason == "length"
    assert watch.ahead > 5
