"""A step that runs out of memory is done again in smaller ones; only what can never fit fails, and alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.drafters.draft_model import DraftModel
from engine.engine import Engine
from engine.relief import MESSAGE, SOUND_STEPS
from engine.runner import Runner
from engine.window import Window
from tests.engine.denoising.conftest import save_denoiser
from tests.engine.drive import acceptance, endings, make_engine, request, run
from tests.engine.workload import workload

HOST = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
DEVICE = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Cramped(Runner):
    """Has memory for so many rows; steps beyond fail as torch fails. `refused` counts them."""

    most_rows: int
    error: Exception
    refused: int

    def forward(self, windows: list[Window]) -> Tensor:
        if sum(window.shape.rows for window in windows) > self.most_rows:
            self.refused += 1
            raise self.error
        return super().forward(windows)


def cramp(engine: Engine, most_rows: int, error: Exception = DEVICE) -> Cramped:
    old = engine.runner
    runner = Cramped(old.model, old.attention, old.strategy, old.threads)
    runner.most_rows, runner.error, runner.refused = most_rows, error, 0
    engine.runner = runner
    return runner


@pytest.mark.parametrize("error", [DEVICE, HOST, MemoryError()], ids=["device", "host", "python"])
@pytest.mark.parametrize("most_rows", [40, 3])
def test_every_request_gets_the_tokens_it_would_have_got(learned: Path, most_rows: int, error: Exception) -> None:
    expected = endings(run(make_engine(learned, draft_length=4), workload(10)))
    engine = make_engine(learned, draft_length=4)
    runner = cramp(engine, most_rows, error)
    assert endings(run(engine, workload(10))) == expected
    assert runner.refused > 0
    assert engine.scheduler.preemptions > 0 or most_rows > 10
    engine.check_idle()


def test_drafting_that_runs_out_of_memory_costs_drafts_and_nothing_else(learned: Path) -> None:
    expected = endings(run(make_engine(learned, decoding="ar"), workload(6)))
    engine = make_engine(learned, decoding="draft-model", draft_model=str(learned), predrafts="none", max_num_seqs=1)
    drafter = engine._parts.drafter
    assert isinstance(drafter, DraftModel)
    old = drafter.runner
    cramped = Cramped(old.model, old.attention, old.strategy, old.threads)
    cramped.most_rows, cramped.error, cramped.refused = 40, DEVICE, 0
    drafter.runner = cramped
    assert endings(run(engine, workload(6))) == expected
    assert cramped.refused > 0
    assert acceptance(engine) > 1


def test_who_does_not_fit_fails_and_not_who_waits_for_the_next_step(tmp_path: Path) -> None:
    """A window that cannot be cut is all its request's fault; one that is admitted later may be wider than the last."""
    engine = make_engine(save_denoiser(tmp_path, "denoise"), max_num_batched_tokens=128)
    cramp(engine, 75)
    asked = [request(name, [5] * prompt, max_tokens=10) for name, prompt in (("big", 70), ("small", 60))]
    done = run(engine, asked)
    assert done["big"].error == MESSAGE and done["small"].error is None
    cramp(engine, 30)
    assert run(engine, [request("refused", [5] * 40, max_tokens=4)])["refused"].error == MESSAGE
    cramp(engine, 75)
    assert run(engine, [request("wider", [5] * 50, max_tokens=10)])["wider"].error is None


def test_a_request_that_cannot_run_even_alone_fails(learned: Path) -> None:
    engine = make_engine(learned, draft_length=4)
    runner = cramp(engine, 0)
    done = run(engine, [request(f"{i}", [5, 6, 7], max_tokens=4) for i in range(3)])
    assert {answer.error for answer in done.values()} == {MESSAGE}
    engine.check_idle()
    runner.most_rows = 1000
    assert run(engine, [request("again", [5, 6, 7], max_tokens=4, ignore_eos=True)])["again"].finish_reason == "length"


def test_steps_grow_again_when_there_is_memory(learned: Path) -> None:
    engine = make_engine(learned, draft_length=4, max_num_batched_tokens=64)
    runner = cramp(engine, 16)
    asked = [request(f"{i}", [5 + i] * 20, max_tokens=4, ignore_eos=True) for i in range(4)]
    run(engine, asked)
    assert engine.scheduler.max_num_batched_tokens <= 16
    runner.most_rows = 1000
    for i in range(SOUND_STEPS):
        run(engine, [request(f"more-{i}", [5, 6], max_tokens=8, ignore_eos=True)])
    assert engine.scheduler.max_num_batched_tokens == 64


def test_an_error_that_is_no_lack_of_memory_ends_the_engine(learned: Path) -> None:
    engine = make_engine(learned, draft_length=4)
    cramp(engine, 0, RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(engine, [request("x", [5])])
