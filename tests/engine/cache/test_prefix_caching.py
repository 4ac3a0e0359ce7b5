"""Prompts that share a beginning share its pages, and nobody can tell from the output."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.engine import Engine
from engine.messages import Submit
from tests.engine.drive import Done, endings, make_engine, request, run
from tests.engine.workload import prompts

STEM = prompts(1, seed=3)[0][:20] + list(range(10, 22))
PAGE = 4


def cached(done: Done) -> int:
    assert done.steps is not None
    return done.steps.cached_tokens


@pytest.fixture
def engine(learned: Path) -> Engine:
    return make_engine(learned, draft_length=4, page_size=PAGE)


def again(name: str, tail: list[int], **params: int) -> Submit:
    return request(name, STEM + tail, max_tokens=12, ignore_eos=True, **params)


def test_a_second_prompt_reuses_every_full_page_of_a_common_beginning(engine: Engine, learned: Path) -> None:
    first = run(engine, [again("first", [5, 6])])["first"]
    second = run(engine, [again("second", [7, 8, 9])])["second"]
    assert cached(first) == 0
    assert cached(second) == len(STEM) // PAGE * PAGE
    fresh = run(make_engine(learned, draft_length=4), [again("second", [7, 8, 9])])["second"]
    assert second.token_ids == fresh.token_ids
    stats = engine.stats()
    assert (stats.prefix_cache_hits, stats.prefix_cache_queries) == (cached(second), 2 * len(STEM) + 5)


def test_at_least_one_token_of_a_prompt_always_runs(engine: Engine) -> None:
    """A prompt of whole pages that is all cached still needs its last row's logits."""
    whole = request("a", STEM[: 5 * PAGE], max_tokens=5, ignore_eos=True)
    first = run(engine, [whole])["a"]
    second = run(engine, [whole])["a"]
    assert cached(second) == 4 * PAGE
    assert endings({"a": first}) == endings({"a": second})


def test_generated_tokens_are_cached_too_and_rejected_drafts_are_not(engine: Engine, learned: Path) -> None:
    """A conversation that goes on: prompt and answer are the beginning of the next prompt."""
    first = run(engine, [again("a", [5])])["a"]
    longer = request("b", [*STEM, 5, *first.token_ids, 9], max_tokens=12, ignore_eos=True)
    second = run(engine, [longer])["b"]
    assert cached(second) > len(STEM) + PAGE
    assert second.token_ids == run(make_engine(learned, draft_length=4), [longer])["b"].token_ids


def test_sequences_that_run_together_share_pages(engine: Engine) -> None:
    engine.submit(again("first", [5]))
    engine.step()
    for index in range(3):
        engine.submit(again(f"{index}", [6, index + 3]))
    engine.step()
    heads = {tuple(sequence.pages[: len(STEM) // PAGE]) for sequence in engine.scheduler.running}
    assert len(engine.scheduler.running) == 4 and len(heads) == 1
    while engine.has_work:
        engine.step()
    engine.check_idle()


def test_a_prompt_whose_logprobs_are_wanted_does_not_read_the_cache(engine: Engine) -> None:
    run(engine, [again("first", [5])])
    second = run(engine, [again("second", [5], prompt_logprobs=1)])["second"]
    assert cached(second) == 0
    assert second.prompt_logprobs is not None and len(second.prompt_logprobs) == len(STEM) + 1


def test_without_prefix_caching_nothing_is_reused(learned: Path) -> None:
    engine = make_engine(learned, page_size=PAGE, enable_prefix_caching=False)
    run(engine, [again("first", [5])])
    assert cached(run(engine, [again("second", [5])])["second"]) == 0


def test_a_cache_under_pressure_forgets_but_never_mixes_up(learned: Path) -> None:
    asked = [
        request(f"{round_}-{index}", prompt, temperature=0.8, seed=index, max_tokens=10)
        for round_ in range(3)
        for index, prompt in enumerate(prompts(12))
    ]
    fresh = run(make_engine(learned, enable_prefix_caching=False), asked)
    engine = make_engine(learned, draft_length=4, page_size=PAGE, num_pages=64, max_num_seqs=3)
    assert endings(run(engine, asked)) == endings(fresh)
    assert 0 < engine.stats().prefix_cache_hits < 2 * sum(map(len, prompts(12)))
