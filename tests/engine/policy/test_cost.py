"""Step cost: a formula measured at start-up, and what observed steps correct in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.policy import probe
from engine.policy.base import Load
from engine.policy.cost import StepCost

ONE = Load(1)


def test_measured_points_are_exact_and_between_them_it_is_a_line() -> None:
    cost = StepCost([1, 4, 8], [1.0, 4.0, 6.0])
    assert [cost(n, ONE) for n in (1, 2, 4, 6, 8)] == pytest.approx([1.0, 2.0, 4.0, 5.0, 6.0])


def test_beyond_the_last_point_it_grows_in_proportion() -> None:
    assert StepCost([1, 8], [1.0, 6.0])(24, ONE) == pytest.approx(18.0)


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_a_machine_with_room_for_one_row_has_a_cost_too(rows: int) -> None:
    assert StepCost([1], [0.5])(rows, ONE) == pytest.approx(0.5 * rows)


@given(st.lists(st.floats(0.001, 10), min_size=9, max_size=9), st.integers(1, 1000))
def test_it_is_positive_and_between_its_neighbours(seconds: list[float], rows: int) -> None:
    points = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    cost = StepCost(points, seconds)
    assert cost(rows, ONE) > 0
    if rows < 256:
        right = next(i for i, n in enumerate(points) if n > rows)
        low, high = sorted((seconds[right - 1], seconds[right]))
        assert low * (1 - 1e-9) <= cost(rows, ONE) <= high * (1 + 1e-9)


def test_sequences_keys_and_keys_read_by_many_rows_each_add_their_share() -> None:
    cost = StepCost([1, 8], [1.0, 2.0], per_sequence=0.5, per_key=0.01, per_score=0.001)
    assert cost(8, Load(4, 200)) == pytest.approx(2.0 + 3 * 0.5 + 200 * 0.01 + 200 * 2 * 0.001)


def test_measuring_takes_the_least_of_a_few_repeats_and_finds_every_share() -> None:
    calls: list[tuple[int, int, int]] = []

    def step(sequences: int, rows: int, context: int) -> float:
        calls.append((sequences, rows, context))
        truth = sequences * rows / 10 + 0.03 * (sequences - 1) + sequences * context * (0.001 + 0.0002 * rows)
        # whatever else the machine does only adds: of four repeats in a row three come late
        return truth + (0.0 if len(calls) % 4 == 0 else 5.0)

    cost = probe.measure_steps(step, max_rows=20, max_context=1024)
    assert cost.rows == [1, 2, 4, 8, 12, 16, 20]
    assert cost(16, Load(2, 300)) == pytest.approx(1.6 + 0.03 + 300 * (0.001 + 0.0002 * 8))


def test_measuring_a_slow_machine_stops_early_and_goes_on_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBE_SECONDS", 0.0)
    cost = probe.measure_steps(lambda sequences, rows, context: rows / 10, 256, 1024)
    assert cost.rows == [1, 2]
    assert cost(64, ONE) == pytest.approx(6.4)


def test_a_context_too_short_for_the_probe_leaves_keys_free() -> None:
    cost = probe.measure_steps(lambda sequences, rows, context: rows / 10 + context, 256, 8)
    assert cost.per_key == cost.per_score == 0.0


def test_observed_steps_correct_their_own_cell_and_others_only_until_they_are_seen() -> None:
    cost = StepCost([1, 8, 64], [1.0, 2.0, 10.0])
    cost.observe(64, ONE, 10.0)
    for _ in range(40):
        cost.observe(8, ONE, 3.0)
    assert cost(8, ONE) == pytest.approx(3.0, rel=0.01)
    # 1 row is nearer to 8 than to 64, and takes its second more; with 8 sequences nothing was seen at all
    assert (cost(1, ONE), cost(64, ONE), cost(8, Load(8))) == pytest.approx((2.0, 10.0, 2.0), rel=0.02)


def test_what_slows_a_well_known_cell_slows_all() -> None:
    cost = StepCost([1, 64], [1.0, 10.0])
    for _ in range(200):
        cost.observe(1, ONE, 1.0)
    for _ in range(500):
        cost.observe(1, ONE, 2.0)
    assert cost(1, ONE) == pytest.approx(2.0, rel=0.01)
    assert cost(64, ONE) > 10.0


def test_one_stalled_step_hardly_counts_once_a_cell_is_known() -> None:
    cost = StepCost([1, 8], [1.0, 2.0])
    for _ in range(30):
        cost.observe(8, ONE, 2.0)
    cost.observe(8, ONE, 1e6)
    assert cost(8, ONE) < 2.5


def test_what_slows_all_steps_does_not_make_the_setting_in_use_look_dear() -> None:
    """A neighbour on the machine takes a third of it for a while: the other settings would be as slow."""
    cost = StepCost([1, 4, 8, 64], [1.0, 1.5, 2.0, 9.0])
    for _ in range(200):
        cost.observe(4, ONE, 1.5)
    for _ in range(40):
        cost.observe(4, ONE, 1.5 * 1.5)
    assert cost(4, ONE) == pytest.approx(1.5 * 1.5, rel=0.1)
    assert cost(8, ONE) / cost(4, ONE) == pytest.approx(2.0 / 1.5, rel=0.1)
