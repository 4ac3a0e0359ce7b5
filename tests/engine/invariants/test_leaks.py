"""Invariant 4: after any mix of finish, stop, abort, error and preemption, free pages = all pages."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine.engine import Engine
from engine.errors import RequestError
from engine.messages import Output
from tests.engine.drive import make_engine, request
from tests.engine.invariants.test_garbage import NAN
from tests.engine.workload import prompts, workload


class Chaos:
    """Steps an engine while requests arrive, are aborted, are refused and have their cache damaged at random."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine, self.rng = engine, random.Random(seed)
        self.arrivals = workload(20)
        self.rng.shuffle(self.arrivals)
        self.endings: dict[str, str | None] = {}

    def run(self) -> None:
        while self.arrivals or self.engine.has_work:
            for event in (self.arrive, self.refuse, self.abort, self.damage):
                if self.rng.random() < 0.2:
                    event()
            for output in self.engine.step():
                self.note(output)
            self.engine.scheduler.pool.check()
        self.engine.check_idle()

    def note(self, output: Output) -> None:
        if output.finish_reason is not None:
            assert output.request_id not in self.endings
            self.endings[output.request_id] = output.finish_reason

    def arrive(self) -> None:
        for _ in range(min(len(self.arrivals), self.rng.randint(1, 12))):
            self.engine.submit(self.arrivals.pop())

    def refuse(self) -> None:
        with pytest.raises(RequestError):
            self.engine.submit(request("bad", [5, 999]))

    def abort(self) -> None:
        known = [sequence.request_id for sequence in self.engine.scheduler]
        self.engine.abort([*self.rng.sample(known, min(len(known), 2)), "nobody"])

    def damage(self) -> None:
        """NaN in the newest page of some sequence, which no other sequence shares."""
        size = self.engine.config.page_size
        running = [s for s in self.engine.scheduler.running if s.prefix_len % size]
        if running:
            page = self.rng.choice(running).pages[-1]
            self.engine.runner.attention.storage.slots[:, page * size : (page + 1) * size] = NAN


@pytest.mark.parametrize("caching", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("seed", range(3))
def test_no_page_is_lost_in_any_mix_of_endings(learned: Path, seed: int, caching: bool) -> None:
    settings = {"draft_length": 4, "predrafts": "full", "page_size": 4, "num_pages": 50}
    engine = make_engine(learned, enable_prefix_caching=caching, **settings)
    chaos = Chaos(engine, seed)
    chaos.run()
    assert len(chaos.endings) == 60
    assert set(chaos.endings.values()) == {"stop", "length", "abort", "error"}
    assert engine.stats().preemptions > 0
    assert engine.scheduler.pool.free == 50


def test_an_aborted_request_answers_once_and_frees_its_pages_at_once(learned: Path) -> None:
    engine = make_engine(learned)
    engine.submit(request("x", prompts()[0], max_tokens=50, ignore_eos=True))
    for _ in range(4):
        engine.step()
    assert engine.scheduler.pool.used > 0
    engine.abort(["x", "x", "unknown"])
    assert engine.scheduler.pool.used == 0
    (output,) = engine.step()
    assert (output.request_id, output.finish_reason) == ("x", "abort")
    assert not engine.has_work


def test_a_waiting_request_can_be_aborted(learned: Path) -> None:
    engine = make_engine(learned, max_num_seqs=1)
    for name in ("first", "second"):
        engine.submit(request(name, [5, 6], max_tokens=6, ignore_eos=True))
    engine.step()
    engine.abort(["second"])
    outputs = []
    while engine.has_work:
        outputs += engine.step()
    endings = {output.request_id: output.finish_reason for output in outputs if output.finish_reason}
    assert endings == {"first": "length", "second": "abort"}
    engine.check_idle()


def test_the_books_notice_a_leak(learned: Path) -> None:
    engine = make_engine(learned)
    engine.scheduler.pool.allocate(1)
    with pytest.raises(AssertionError, match="1 pages leaked"):
        engine.check_idle()
