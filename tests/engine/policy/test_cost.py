"""Step cost: measured points, straight lines between them, and slow correction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine.policy.cost
from engine.policy.cost import StepCost


def test_measured_points_are_exact_and_between_them_it_is_a_line() -> None:
    cost = StepCost([1, 4, 8], [1.0, 4.0, 6.0])
    assert [cost(n) for n in (1, 2, 4, 6, 8)] == pytest.approx([1.0, 2.0, 4.0, 5.0, 6.0])


def test_beyond_the_last_point_it_grows_in_proportion() -> None:
    assert StepCost([1, 8], [1.0, 6.0])(24) == pytest.approx(18.0)


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_a_machine_with_room_for_one_row_has_a_cost_too(rows: int) -> None:
    assert StepCost([1], [0.5])(rows) == pytest.approx(0.5 * rows)


@given(st.lists(st.floats(0.001, 10), min_size=9, max_size=9), st.integers(1, 1000))
def test_it_is_positive_and_between_its_neighbours(seconds: list[float], rows: int) -> None:
    points = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    cost = StepCost(points, seconds)
    assert cost(rows) > 0
    if rows < 256:
        right = next(i for i, n in enumerate(points) if n > rows)
        low, high = sorted((seconds[right - 1], seconds[right]))
        assert low * (1 - 1e-9) <= cost(rows) <= high * (1 + 1e-9)


def test_measuring_takes_the_least_of_a_few_repeats_at_each_power_of_two_within_the_budget() -> None:
    calls: list[int] = []

    def step(rows: int) -> float:
        calls.append(rows)
        # whatever else the machine does only adds: of three repeats in a row two come late
        return rows / 10 + (0.0 if len(calls) % 3 == 0 else 5.0)

    cost = StepCost.measure(20, step)
    assert set(calls) == {1, 2, 4, 8, 16}
    assert [cost(n) for n in (1, 2, 4, 8, 16)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])


def test_measuring_a_slow_machine_stops_early_and_goes_on_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.policy.cost, "PROBE_SECONDS", 0.0)
    cost = StepCost.measure(256, lambda rows: rows / 10)
    assert cost.rows == [1, 2]
    assert cost(64) == pytest.approx(6.4)


def test_observations_pull_the_nearest_point_and_no_other() -> None:
    cost = StepCost([1, 8, 64], [1.0, 2.0, 10.0])
    for _ in range(200):
        cost.observe(8, 3.0)
    assert cost(8) == pytest.approx(3.0, rel=0.01)
    assert (cost(1), cost(64)) == (1.0, 10.0)


def test_one_stalled_step_hardly_counts() -> None:
    cost = StepCost([1, 8], [1.0, 2.0])
    cost.observe(8, 1e6)
    assert cost(8) < 2.5
