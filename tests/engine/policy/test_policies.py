"""The choice of (k, S): fixed by the operator, or the one that pays."""

from __future__ import annotations

import random

import pytest

from engine.policy.auto import HYSTERESIS, PERIOD, PROBE_EVERY, PROBE_STEPS, AutoPolicy
from engine.policy.base import Load
from engine.policy.cost import StepCost
from engine.policy.fixed import FixedPolicy
from engine.policy.record import DraftRecord
from engine.strategies.base import DraftChoice

#: rows are free up to a point on one machine, and each costs the same on the other
FLAT, STEEP = ([1, 256], [1.0, 1.1]), ([1, 256], [1.0, 256.0])
ROOM = 10_000
ONE = Load(1)


def policy(cost: tuple[list[int], list[float]] = FLAT) -> AutoPolicy:
    return AutoPolicy([2, 4, 8], StepCost(list(cost[0]), list(cost[1])))


def teach(auto: AutoPolicy, accepted: int, windows: int = 500) -> None:
    for _ in range(windows):
        auto.observe_window(7, accepted, DraftRecord())


def settled(auto: AutoPolicy, sequences: int = 1, room: int = ROOM) -> DraftChoice:
    """The choice after enough steps to decide anew, probing steps aside."""
    choices = [auto.choose(Load(sequences), room) for _ in range(4 * PERIOD)]
    return max(set(choices), key=choices.count)


def test_drafts_that_are_always_right_on_a_flat_machine_get_the_longest_window() -> None:
    auto = policy()
    teach(auto, 7)
    choice = settled(auto)
    assert choice.draft_length == 8
    assert 8 in choice.groups


def test_drafts_that_are_never_right_get_plain_ar() -> None:
    auto = policy(STEEP)
    teach(auto, 0)
    assert settled(auto) == DraftChoice(1)


def test_rows_that_cost_as_much_as_steps_get_plain_ar_even_with_perfect_drafts() -> None:
    auto = policy(STEEP)
    teach(auto, 7)
    assert settled(auto) == DraftChoice(1)


def test_a_machine_with_free_rows_drafts_for_one_sequence_and_not_for_a_full_batch() -> None:
    """Up to 64 rows cost the same, and then each costs more."""
    auto = AutoPolicy([2, 4, 8], StepCost([1, 64, 256], [1.0, 1.0, 8.0]))
    teach(auto, 1)
    assert settled(auto, 1).draft_length > 1
    assert settled(auto, 64) == DraftChoice(1)


@pytest.mark.parametrize("sequences", [1, 3, 10, 40])
@pytest.mark.parametrize("room", [1, 5, 20, 50, 200])
def test_the_choice_fits_the_row_budget(sequences: int, room: int) -> None:
    auto = policy()
    teach(auto, 7)
    for _ in range(2 * PROBE_EVERY):
        choice = auto.choose(Load(sequences), room)
        assert choice == DraftChoice(1) or sequences * choice.rows <= room


def test_the_choice_has_the_highest_rate_of_all() -> None:
    auto = policy(([1, 8, 64, 256], [1.0, 1.2, 3.0, 9.0]))
    for accepted in [7, 0, 2, 3, 1, 0, 0, 7, 2] * 50:
        auto.observe_window(7, accepted, DraftRecord())
    best = auto.rate(settled(auto), ONE)
    for k in (1, 2, 4, 8):
        for groups in range(k + 1 if k > 1 else 1):
            fixed = FixedPolicy(k, groups)
            fixed.survival = auto.survival
            assert auto.rate(fixed.choose(Load(1), ROOM), ONE) <= best * HYSTERESIS


def test_the_rate_of_ar_is_sequences_per_step_time() -> None:
    assert policy(STEEP).rate(DraftChoice(1), Load(4)) == pytest.approx(1.0)


def test_the_rate_counts_cold_steps_and_what_they_commit() -> None:
    """k = 2 without groups, drafts always right: three tokens in two forwards of 2 and 3 rows."""
    auto = policy(STEEP)
    teach(auto, 7, windows=2000)
    assert auto.rate(DraftChoice(2), ONE) == pytest.approx(3 / (2 + 3), rel=0.01)


def test_a_slightly_better_setting_does_not_make_it_waver() -> None:
    """Costs that swing by less than the hysteresis change the choice once at most."""
    auto = policy(([1, 16, 256], [1.0, 2.0, 30.0]))
    teach(auto, 2)
    choices = []
    for index in range(100):
        auto.cost.seconds[1] = 2.0 * (1.02 if index % 2 else 0.98)
        choices.append(settled(auto))
    assert len(set(choices[1:])) == 1


def test_a_much_better_setting_is_taken() -> None:
    auto = policy(([1, 16, 256], [1.0, 2.0, 30.0]))
    teach(auto, 7)
    before = settled(auto)
    auto.cost.seconds = [1.0, 15.0, 300.0]
    assert before.draft_length > settled(auto).draft_length == 1


def test_while_ar_is_chosen_it_drafts_now_and_then_and_notices_when_drafts_begin_to_pay() -> None:
    auto = policy()
    teach(auto, 0, windows=2000)
    auto.cost = StepCost([1, 256], [1.0, 30.0])
    assert settled(auto) == DraftChoice(1)
    for _ in range(40 * PROBE_EVERY):
        choice = auto.choose(Load(1), ROOM)
        if choice.draft_length > 1:
            auto.observe_window(choice.draft_length - 1, choice.draft_length - 1, DraftRecord())
    assert auto.choice.draft_length > 1


def test_a_rival_that_was_mismeasured_at_the_start_is_found_out() -> None:
    """20 rows seem to cost 2.6 and really cost 1.5: only trying shows it."""
    auto = AutoPolicy([4], StepCost([1, 4, 8, 20], [1.0, 1.2, 1.4, 2.6]))
    truth = StepCost([1, 4, 8, 20], [1.0, 1.2, 1.4, 1.5])
    rng = random.Random(0)
    for step in range(100 * PROBE_EVERY):
        choice = auto.choose(ONE, ROOM)
        auto.observe_step(choice.rows, ONE, truth(choice.rows, ONE))
        auto.observe_window(choice.draft_length - 1, min(choice.draft_length - 1, rng.randrange(4)), DraftRecord())
        if step == 5 * PERIOD:
            assert auto.choice.rows < 16
    assert auto.choice.rows >= 16


def test_probing_takes_few_steps() -> None:
    auto = policy(STEEP)
    teach(auto, 7)
    # a new engine probes more often
    for _ in range(20 * PROBE_EVERY):
        auto.choose(ONE, ROOM)
    choices = [auto.choose(ONE, ROOM) for _ in range(10 * PROBE_EVERY)]
    assert 0 < sum(choice != auto.choice for choice in choices) <= 10 * PROBE_STEPS


def test_a_fixed_policy_gives_its_groups_to_the_likeliest_outcomes() -> None:
    fixed = FixedPolicy(4, 2)
    for _ in range(500):
        fixed.observe_window(3, 2, DraftRecord())
    choice = fixed.choose(Load(1), ROOM)
    assert choice.draft_length == 4 and choice.groups[0] == 3 and len(choice.groups) == 2


@pytest.mark.parametrize(("k", "groups", "expected"), [(4, 9, 4), (4, 0, 0), (1, 3, 0)])
def test_a_fixed_policy_has_no_more_groups_than_outcomes(k: int, groups: int, expected: int) -> None:
    assert len(FixedPolicy(k, groups).choose(Load(1), ROOM).groups) == expected
