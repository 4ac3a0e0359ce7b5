"""Whatever is drafted, batched, chunked, cached or preempted, the tokens are those of one-at-a-time decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.policy.auto import AutoPolicy
from engine.policy.record import DraftRecord
from engine.strategies.base import DraftChoice
from tests.engine.drive import Done, acceptance, endings, make_engine, make_refining_engine, run, tokens
from tests.engine.drive import request as ask
from tests.engine.tiny import CONTEXT, EOS
from tests.engine.workload import prompts, workload


@pytest.fixture(scope="session")
def plain(learned: Path) -> dict[str, Done]:
    """Every request of the workload on its own, one token per forward, nothing cached: the answer to compare with."""
    engine = make_engine(learned, decoding="ar", max_num_seqs=1, enable_prefix_caching=False)
    return run(engine, workload())


def test_the_workload_is_worth_comparing(plain: dict[str, Done]) -> None:
    """It has 200 prompts under three settings, ends in both ways, and most outputs differ from one another."""
    assert len(plain) == 600
    assert {answer.finish_reason for answer in plain.values()} == {"stop", "length"}
    assert {answer.stop_token_id for answer in plain.values()} > {None, EOS}
    assert len({tuple(answer.token_ids) for answer in plain.values()}) > 400


@pytest.mark.slow
@pytest.mark.parametrize("predrafts", ["full", "none", "1", "auto"])
@pytest.mark.parametrize("k", [2, 4, 8])
def test_tidar_says_what_ar_says(learned: Path, plain: dict[str, Done], k: int, predrafts: str) -> None:
    engine = make_engine(learned, decoding="tidar", draft_length=k, predrafts=predrafts)
    assert endings(run(engine, workload())) == endings(plain)
    if predrafts == "full":
        assert acceptance(engine) > 1.1


@pytest.mark.slow
@pytest.mark.parametrize(("k", "num_pages"), [(2, None), (4, None), (8, None), (8, CONTEXT // 4 + 8)])
def test_refined_windows_say_what_ar_says(learned: Path, plain: dict[str, Done], k: int, num_pages: int | None) -> None:
    """Every window has drafts and groups of its own choice, by what the forward before it said."""
    engine = make_refining_engine(learned, draft_length=k, page_size=4, num_pages=num_pages, max_num_seqs=8)
    assert isinstance(engine.policy, AutoPolicy)
    refine = engine.policy.refinement.refine
    verified: set[int | None] = set()

    def note(record: DraftRecord, choice: DraftChoice, usual: float) -> DraftChoice:
        refined = refine(record, choice, usual)
        verified.add(refined.verified)
        return refined

    engine.policy.refinement.refine = note  # type: ignore[method-assign]
    done = run(engine, workload(200 if num_pages is None else 60))
    assert endings(done) == {key: endings(plain)[key] for key in done}
    assert len(verified - {None}) > 1, f"windows verified {verified} drafts"
    assert num_pages is None or engine.stats().preemptions > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "settings"),
    [
        (20, {"max_num_seqs": 1}),
        (30, {"max_num_seqs": 3, "page_size": 1}),
        (200, {"max_num_seqs": 7, "max_num_batched_tokens": 13, "page_size": 4}),
        (50, {"max_num_seqs": 64, "max_num_batched_tokens": 64, "enable_prefix_caching": False}),
        (200, {"max_num_seqs": 200, "max_num_batched_tokens": 333, "page_size": 64}),
    ],
)
def test_concurrency_chunking_and_page_size_change_nothing(
    learned: Path, plain: dict[str, Done], count: int, settings: dict[str, Any]
) -> None:
    engine = make_engine(learned, decoding="tidar", draft_length=4, predrafts="full", **settings)
    done = run(engine, workload(count))
    assert endings(done) == {key: endings(plain)[key] for key in done}


def test_batched_ar_says_what_serial_ar_says(learned: Path, plain: dict[str, Done]) -> None:
    engine = make_engine(learned, decoding="ar", max_num_batched_tokens=50)
    assert endings(run(engine, workload())) == endings(plain)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "caching", "count"), [(2, False, 30), (4, True, 200), (8, False, 30)])
def test_a_preempted_stream_does_not_notice(
    learned: Path, plain: dict[str, Done], k: int, caching: bool, count: int
) -> None:
    engine = make_engine(
        learned,
        decoding="tidar",
        draft_length=k,
        predrafts="full",
        page_size=4,
        num_pages=CONTEXT // 4 + 8,
        enable_prefix_caching=caching,
    )
    done = run(engine, workload(count))
    assert endings(done) == {key: endings(plain)[key] for key in done}
    assert engine.stats().preemptions > 10
    assert sum(answer.steps.preemptions for answer in done.values() if answer.steps) == engine.stats().preemptions
    assert acceptance(engine) > 1.1


@pytest.mark.parametrize("checkpoint", ["random_qwen3", "random_llama"])
def test_random_weights_whose_drafts_are_mostly_wrong_are_exact_too(
    checkpoint: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(checkpoint)
    expected = endings(run(make_engine(folder, decoding="ar", max_num_seqs=1), workload(20)))
    for predrafts in ("full", "2"):
        engine = make_engine(folder, decoding="tidar", draft_length=4, predrafts=predrafts, max_num_batched_tokens=90)
        assert endings(run(engine, workload(20))) == expected


def test_a_request_says_the_same_alone_and_in_any_company(learned: Path) -> None:
    seeded = {"temperature": 0.8, "seed": 11, "max_tokens": 30}
    watched = ask("watched", prompts()[1], **seeded)
    alone = run(make_engine(learned, draft_length=4), [watched])["watched"].token_ids
    for company in (1, 5, 40):
        engine = make_engine(learned, draft_length=4, max_num_batched_tokens=64)
        others = [ask(f"other-{i}", p, temperature=1.0, max_tokens=20) for i, p in enumerate(prompts(company))]
        assert run(engine, [*others, watched])["watched"].token_ids == alone


def test_another_seed_says_something_else(learned: Path) -> None:
    asked = [ask(f"{seed}", [5], temperature=1.0, seed=seed, max_tokens=20, ignore_eos=True) for seed in range(20)]
    assert len(set(map(tuple, tokens(run(make_engine(learned), asked)).values()))) > 15


def test_two_engines_of_one_seed_draw_the_same_seeds(learned: Path) -> None:
    asked = [ask(f"{i}", [5], temperature=1.0, max_tokens=20) for i in range(5)]
    first, same, other = (tokens(run(make_engine(learned, seed=seed), asked)) for seed in (3, 3, 4))
    assert first == same != other
    assert len(set(map(tuple, first.values()))) == 5


def test_a_checkpoint_without_drafts_decodes_one_token_per_forward(without_drafts: Path) -> None:
    engine = make_engine(without_drafts, decoding="auto")
    assert engine.ready().decoding == "ar"
    run(engine, [ask("a", [5, 6, 7], max_tokens=9, ignore_eos=True)])
    assert acceptance(engine) == 1.0
