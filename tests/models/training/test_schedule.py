"""When a run ends, and how fast it learns until then."""

from __future__ import annotations

import pytest

from models.training.schedule import Budget, Schedule


def test_a_budget_ends_at_whichever_limit_comes_first() -> None:
    budget = Budget(tokens=1000, minutes=2)
    assert budget.progress(0, 0) == 0.0
    assert budget.progress(500, 30) == 0.5
    assert budget.progress(100, 90) == 0.75
    assert budget.progress(2000, 0) == 1.0 and budget.progress(0, 600) == 1.0


def test_a_run_without_a_budget_never_ends() -> None:
    assert Budget().progress(10**12, 10**9) == 0.0


def test_the_rate_warms_up_stays_and_decays_linearly_to_its_floor() -> None:
    schedule = Schedule(warmup_steps=10, decay=0.5, floor=0.02)
    assert schedule.factor(0, 0.0) == pytest.approx(0.1)
    assert schedule.factor(4, 0.0) == pytest.approx(0.5)
    assert schedule.factor(9, 0.1) == schedule.factor(500, 0.5) == 1.0
    assert schedule.factor(500, 0.75) == pytest.approx(0.5)
    assert schedule.factor(500, 1.0) == pytest.approx(0.02)


def test_a_schedule_without_decay_or_warm_up_is_constant() -> None:
    schedule = Schedule(warmup_steps=0, decay=0.0)
    assert [schedule.factor(step, step / 10) for step in range(10)] == [1.0] * 10
