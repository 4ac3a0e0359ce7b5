"""Scheduling under random workloads: everybody finishes, in rank, within the budget, and nothing is left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.engine import Engine
from engine.policy.base import Load
from engine.sequence import Sequence
from tests.engine.drive import Done, make_engine, request, run
from tests.engine.workload import prompts

PAGE, LONGEST = 4, 48


@dataclass(frozen=True)
class Arrival:
    at_step: int
    prompt_len: int
    max_tokens: int
    priority: int
    abort_after: int | None


arrivals = st.lists(
    st.builds(
        Arrival,
        at_step=st.integers(0, 30),
        prompt_len=st.integers(1, 30),
        max_tokens=st.integers(1, 18),
        priority=st.integers(-2, 2),
        abort_after=st.none() | st.integers(0, 20),
    ),
    min_size=1,
    max_size=14,
)

engine_settings = st.fixed_dictionaries(
    {
        "max_num_seqs": st.integers(1, 9),
        "max_num_batched_tokens": st.integers(1, 40),
        "num_pages": st.integers(LONGEST // PAGE, 30),
        "draft_length": st.sampled_from([1, 2, 4]),
        "predrafts": st.sampled_from(["full", "none", "1"]),
        "enable_prefix_caching": st.booleans(),
    }
)


def rank(sequence: Sequence) -> tuple[int, int]:
    return sequence.priority, sequence.order


class Watch:
    """Runs a workload and checks every step against what the scheduler promises."""

    def __init__(self, engine: Engine, workload: list[Arrival]) -> None:
        self.engine = engine
        self.workload = [(f"{index}", arrival) for index, arrival in enumerate(workload)]
        self.done: dict[str, Done] = {}
        self.aborted: set[str] = set()
        self.steps = 0

    def run(self) -> None:
        last = max(arrival.at_step for _, arrival in self.workload)
        while self.steps <= last or self.engine.has_work:
            self.events()
            self.step()
            # every running sequence moves by at least one row a step, so this is far beyond what can be needed
            assert self.steps < 2_000, "somebody starves"
        self.engine.check_idle()

    def events(self) -> None:
        for name, arrival in self.workload:
            if arrival.at_step == self.steps:
                prompt = prompts(40)[arrival.prompt_len][:1] * arrival.prompt_len
                asked = {"max_tokens": arrival.max_tokens, "temperature": 0.9, "seed": 1, "ignore_eos": True}
                self.engine.submit(request(name, prompt, arrival.priority, **asked))
                self.done[name] = Done()
            if arrival.abort_after is not None and arrival.at_step + arrival.abort_after == self.steps:
                unfinished = name in self.done and self.done[name].finish_reason is None
                self.engine.abort([name])
                self.aborted |= {name} if unfinished else set()

    def step(self) -> None:
        scheduler = self.engine.scheduler
        waiting, running = list(scheduler.waiting), list(scheduler.running)
        assert sorted(waiting, key=rank) == waiting and sorted(running, key=rank) == running
        for output in self.engine.step():
            self.done[output.request_id].add(output)
        self.steps += 1
        assert self.engine.recorder.last_rows <= scheduler.max_num_batched_tokens
        assert len(scheduler.running) <= scheduler.max_num_seqs
        scheduler.pool.check()
        preempted = [s for s in running if s in scheduler.waiting]
        stayed = [s for s in running if s in scheduler.running]
        assert all(rank(s) > rank(other) for s in preempted for other in stayed), "the wrong one was preempted"
        admitted = [s for s in waiting if s not in scheduler.waiting]
        passed_over = [s for s in waiting if s in scheduler.waiting]
        assert all(rank(s) < rank(other) for s in admitted for other in passed_over), "somebody jumped the queue"
        assert not (preempted and admitted), "one was preempted while another came in"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrivals, engine_settings)
def test_any_workload_runs_to_its_end_in_order_and_within_the_budget(
    random_qwen3: Path, workload: list[Arrival], settings_: dict[str, Any]
) -> None:
    engine = make_engine(random_qwen3, max_model_len=LONGEST, page_size=PAGE, **settings_)
    watch = Watch(engine, workload)
    watch.run()
    for name, arrival in watch.workload:
        done = watch.done[name]
        if name in watch.aborted:
            assert done.finish_reason == "abort"
        else:
            assert (done.finish_reason, len(done.token_ids)) == ("length", arrival.max_tokens)


def test_a_step_takes_decodes_and_prompt_chunks_together(random_qwen3: Path) -> None:
    engine = make_engine(random_qwen3, draft_length=4, predrafts="full", max_num_batched_tokens=32)
    engine.submit(request("decoding", [5], max_tokens=40, ignore_eos=True))
    engine.step()
    engine.submit(request("prompt", [6] * 100, max_tokens=4, ignore_eos=True))
    prefixes = []
    while not any(s.decoding for s in engine.scheduler.running if s.request_id == "prompt"):
        published = engine.step()
        assert [output.request_id for output in published][:1] == ["decoding"], "the decode had to wait for the prompt"
        assert engine.recorder.last_rows <= 32
        prefixes += [s.prefix_len for s in engine.scheduler.running if s.request_id == "prompt"]
    assert len(prefixes) > 3 and prefixes == sorted(prefixes) and prefixes[-1] == 100
    assert engine.stats().forwards_by_kind["mixed"] >= len(prefixes)


def test_the_more_urgent_run_first_and_equals_in_order_of_arrival(random_qwen3: Path) -> None:
    engine = make_engine(random_qwen3, max_num_seqs=1)
    order = finishing_order(engine, [("late", 1), ("first", 0), ("second", 0), ("urgent", -1)])
    assert order == ["urgent", "first", "second", "late"]


def finishing_order(engine: Engine, named: list[tuple[str, int]]) -> list[str]:
    for name, priority in named:
        engine.submit(request(name, [5, 6], priority, max_tokens=3, ignore_eos=True))
    order = []
    while engine.has_work:
        order += [output.request_id for output in engine.step() if output.finish_reason]
    return order


@pytest.mark.parametrize("priorities", [[0, 0, 0], [2, 1, 0], [0, 1, 0]], ids=str)
def test_the_lowest_priority_youngest_is_the_only_one_preempted(random_qwen3: Path, priorities: list[int]) -> None:
    """Three texts of 40 tokens, room for two and a half."""
    engine = make_engine(random_qwen3, max_model_len=40, page_size=PAGE, num_pages=25, enable_prefix_caching=False)
    asked = [request(f"{i}", [5 + i], p, max_tokens=39, ignore_eos=True) for i, p in enumerate(priorities)]
    done = run(engine, asked)
    last = max(range(3), key=lambda i: (priorities[i], i))
    preemptions = {name: answer.steps.preemptions for name, answer in done.items() if answer.steps}
    assert preemptions.pop(f"{last}") > 0
    assert set(preemptions.values()) == {0}


def test_a_prompt_that_does_not_fit_yet_waits_without_being_overtaken(random_qwen3: Path) -> None:
    engine = make_engine(random_qwen3, page_size=PAGE, num_pages=32, max_model_len=128)
    sizes = {"big": 90, "bigger": 110, "small": 4}
    for name, length in sizes.items():
        engine.submit(request(name, [7] * length, max_tokens=8, ignore_eos=True))
    engine.step()
    assert [s.request_id for s in engine.scheduler.running] == ["big"]
    assert [s.request_id for s in engine.scheduler.waiting] == ["bigger", "small"]
    while engine.has_work:
        engine.step()
    engine.check_idle()


def test_the_policy_learns_a_step_under_the_load_of_its_own_windows(learned: Path) -> None:
    """What was preempted may decode in the step that takes it back, before which nothing ran."""
    engine = make_engine(learned, decoding="ar", page_size=PAGE)
    observed: list[tuple[int, int]] = []
    learn = engine.policy.observe_step

    def note(rows: int, load: Load, seconds: float) -> None:
        observed.append((load.sequences, load.keys))
        learn(rows, load, seconds)

    engine.policy.observe_step = note  # type: ignore[method-assign]
    preempted_at: list[int] = []

    def preempt_on_a_full_page(engine: Engine) -> None:
        running = engine.scheduler.running
        if not preempted_at and running and len(running[0].tokens) > 3 and running[0].prefix_len % PAGE == 0:
            preempted_at.append(running[0].prefix_len)
            engine.scheduler.preempt_last()
            observed.clear()

    run(engine, [request("one", [7, 8, 9], max_tokens=30, ignore_eos=True)], preempt_on_a_full_page)
    assert observed[0] == (1, preempted_at[0])


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 8])
def test_the_smallest_budgets_still_serve(learned: Path, budget: int) -> None:
    """With fewer rows than drafts the windows shrink, down to one AR token."""
    asked = [request(f"{i}", p, max_tokens=6, temperature=0.8, seed=i) for i, p in enumerate(prompts(6))]
    expected = {name: done.token_ids for name, done in run(make_engine(learned, decoding="ar"), asked).items()}
    engine = make_engine(learned, draft_length=4, predrafts="full", max_num_batched_tokens=budget, max_num_seqs=4)
    widest = 0

    def measure(engine: Engine) -> None:
        nonlocal widest
        widest = max(widest, engine.recorder.last_rows)

    done = run(engine, asked, measure)
    assert {name: answer.token_ids for name, answer in done.items()} == expected
    assert widest == budget
