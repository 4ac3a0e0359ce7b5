"""Pages of what is in flight stay taken until it has landed, and nothing is lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.engine import Engine
from tests.engine.drive import endings, make_engine, request, run
from tests.engine.invariants.test_garbage import NAN
from tests.engine.invariants.test_leaks import Chaos
from tests.engine.resident.ahead import make_resident, simple_workload
from tests.engine.workload import prompts, workload


@pytest.mark.parametrize("seed", range(3))
def test_no_page_is_lost_in_any_mix_of_endings(learned: Path, seed: int) -> None:
    engine = make_resident(learned, draft_length=4, page_size=4, num_pages=50)
    chaos = Chaos(engine, seed)
    chaos.arrivals = simple_workload(100) + workload(10)
    chaos.rng.shuffle(chaos.arrivals)
    chaos.run()
    assert len(chaos.endings) == 130
    assert set(chaos.endings.values()) == {"stop", "length", "abort", "error"}
    assert engine.stats().preemptions > 0
    assert engine.scheduler.pool.free == 50


def test_an_aborted_request_answers_at_once_and_its_pages_wait_for_the_step_in_flight(learned: Path) -> None:
    engine = make_resident(learned, draft_length=4)
    engine.submit(request("x", prompts()[0], max_tokens=50, ignore_eos=True))
    for _ in range(4):
        engine.step()
    assert engine.resident is not None and engine.resident.busy
    engine.abort(["x", "x", "unknown"])
    assert engine.scheduler.pool.used > 0
    (output,) = engine.step()
    assert (output.request_id, output.finish_reason) == ("x", "abort")
    assert engine.scheduler.pool.used == 0
    assert not engine.has_work
    engine.check_idle()


def test_a_neighbour_of_an_aborted_request_does_not_notice(learned: Path) -> None:
    asked = [request(f"{i}", prompt, max_tokens=40, ignore_eos=True) for i, prompt in enumerate(prompts(5))]
    expected = endings(run(make_engine(learned, decoding="ar"), asked))
    engine = make_resident(learned, draft_length=4, predrafts="full")
    steps = 0

    def abort(engine: Engine) -> None:
        nonlocal steps
        steps += 1
        if steps == 8:
            engine.abort(["1", "3"])

    done = run(engine, asked, abort)
    assert {done[key].finish_reason for key in ("1", "3")} == {"abort"}
    for key in ("0", "2", "4"):
        assert done[key].token_ids == expected[key][0]


def poison_what_nobody_owns(engine: Engine) -> None:
    """NaN in the scratch slots and wherever neither a prefix nor what the step in flight accepted can be."""
    storage, size = engine.runner.attention.storage, engine.config.page_size
    live = torch.zeros(storage.slots.shape[1], dtype=torch.bool)
    live[:size] = True
    for sequence in engine.scheduler.running:
        for position in range(min(sequence.prefix_len + 4, len(sequence.pages) * size)):
            live[sequence.pages[position // size] * size + position % size] = True
    storage.slots[:, ~live] = NAN


def test_nan_in_every_slot_that_holds_no_live_token_changes_nothing(learned: Path) -> None:
    settings = {"draft_length": 4, "predrafts": "full", "enable_prefix_caching": False, "page_size": 8}
    clean = run(make_engine(learned, **settings), simple_workload(21))
    engine = make_resident(learned, max_num_seqs=9, **settings)
    assert endings(run(engine, simple_workload(21), poison_what_nobody_owns)) == endings(clean)
    assert torch.isnan(engine.runner.attention.storage.slots).any()


def test_the_null_page_stays_zero(learned: Path) -> None:
    engine = make_resident(learned, draft_length=8, predrafts="full", page_size=4, num_pages=60)
    run(engine, simple_workload(21))
    assert not engine.runner.attention.storage.slots[:, :4].any()


def test_a_damaged_request_fails_alone(learned: Path) -> None:
    asked = [request(f"{i}", prompt, max_tokens=40, ignore_eos=True) for i, prompt in enumerate(prompts(4))]
    expected = endings(run(make_engine(learned, decoding="ar"), asked))
    engine = make_resident(learned, draft_length=4, predrafts="full", enable_prefix_caching=False)
    steps = 0

    def damage(engine: Engine) -> None:
        nonlocal steps
        steps += 1
        if steps == 6:
            page = next(s for s in engine.scheduler.running if s.request_id == "2").pages[0]
            size = engine.config.page_size
            engine.runner.attention.storage.slots[:, page * size : page * size + 1] = NAN

    done = run(engine, asked, damage)
    assert done["2"].finish_reason == "error" and "not numbers" in (done["2"].error or "")
    for key in ("0", "1", "3"):
        assert done[key].token_ids == expected[key][0]
