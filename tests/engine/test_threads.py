"""The thread count of a step: measured, and one while another process stalls the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from engine.threads import FIRST_TRIES, LONGEST_PAUSE, RETRY_EVERY, Threads


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Machine:
    """A clock that forwards advance: seconds by (rows, threads), times `stall` with all threads."""

    def __init__(self, seconds: dict[tuple[int, int], float]) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.stall = 1.0
        self.threads = Threads(2, lambda: self.now)

    def run(self, rows: int, times: int = 1) -> list[int]:
        """The thread counts that so many forwards got."""
        return [self.threads.run(rows, lambda: self._forward(rows)) for _ in range(times)]

    def _forward(self, rows: int) -> int:
        count = torch.get_num_threads()
        self.now += self.seconds[rows, count] * (self.stall if count > 1 else 1.0)
        return count


FEW, MANY = 1, 32


@pytest.fixture
def machine() -> Machine:
    """One thread is better for one row, two for many."""
    return Machine({(FEW, 1): 0.002, (FEW, 2): 0.003, (MANY, 1): 0.020, (MANY, 2): 0.011})


def test_each_size_gets_the_faster_count_after_a_few_tries(machine: Machine) -> None:
    machine.run(FEW, 2 * FIRST_TRIES)
    machine.run(MANY, 2 * FIRST_TRIES)
    assert set(machine.run(FEW, RETRY_EVERY // 2)) == {1}
    assert set(machine.run(MANY, RETRY_EVERY // 2)) == {2}


def test_the_slower_count_is_tried_again_now_and_then(machine: Machine) -> None:
    counts = machine.run(MANY, 20 * RETRY_EVERY)
    assert 12 <= counts[2 * FIRST_TRIES :].count(1) <= 20
    machine.seconds[MANY, 1] = 0.001
    assert set(machine.run(MANY, 20 * RETRY_EVERY)[-10:]) == {1}


def test_trying_the_slower_count_takes_a_hundredth_of_the_time(machine: Machine) -> None:
    machine.seconds[MANY, 1] = 0.060
    machine.run(MANY, 2 * FIRST_TRIES)
    counts = machine.run(MANY, 5000)
    assert 0 < counts.count(1) * 0.060 <= 0.013 * 5000 * 0.011


def test_very_many_rows_begin_with_all_threads_and_try_one_later(machine: Machine) -> None:
    more = 8 * MANY
    machine.seconds |= {(more, 1): 0.160, (more, 2): 0.085}
    assert set(machine.run(more, RETRY_EVERY)) == {2}
    machine.seconds[more, 1] = 0.040
    assert set(machine.run(more, 4 * RETRY_EVERY)[-10:]) == {1}


def test_stalls_are_followed_by_one_thread_at_their_size_alone(machine: Machine) -> None:
    machine.run(FEW, 2 * FIRST_TRIES)
    machine.run(MANY, 2 * FIRST_TRIES)
    machine.stall = 10.0
    counts = machine.run(MANY, 10)
    assert counts == sorted(counts, reverse=True)
    assert 2 <= counts.count(2) <= 5
    machine.stall = 1.0
    more = 8 * MANY
    machine.seconds |= {(more, 1): 0.160, (more, 2): 0.085}
    assert machine.run(more) == [2]
    machine.stall = 10.0
    assert machine.run(MANY) == [1]


def test_a_stall_now_and_then_costs_less_than_doing_without_all_threads(machine: Machine) -> None:
    machine.run(MANY, 2 * FIRST_TRIES)
    for _ in range(20):
        machine.stall = 5.0
        machine.run(MANY)
        machine.stall = 1.0
        assert machine.run(MANY, 30).count(2) >= 29


def test_a_single_stall_however_long_says_nothing_of_the_next_second(machine: Machine) -> None:
    machine.run(MANY, 2 * FIRST_TRIES)
    machine.stall = 100.0
    machine.run(MANY)
    machine.stall = 1.0
    assert machine.run(MANY, 30).count(2) >= 29


def test_a_machine_that_stays_busy_loses_little_to_trying(machine: Machine) -> None:
    machine.run(MANY, 2 * FIRST_TRIES)
    machine.stall = 10.0
    started = machine.now
    counts = machine.run(MANY, 5000)
    assert counts.count(2) * 0.11 < 0.05 * (machine.now - started) + 6 * 0.11


def test_when_the_neighbour_is_gone_all_threads_return_within_the_longest_pause(machine: Machine) -> None:
    machine.run(MANY, 2 * FIRST_TRIES)
    machine.stall = 10.0
    machine.run(MANY, 5000)
    machine.stall = 1.0
    machine.run(MANY, int(LONGEST_PAUSE / 0.020) + 2)
    assert machine.run(MANY, 10).count(2) >= 9


def test_an_engine_with_one_thread_leaves_torch_alone() -> None:
    torch.set_num_threads(2)
    assert Threads(1).run(FEW, torch.get_num_threads) == 2
