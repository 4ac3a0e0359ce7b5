"""What a single window gets is what is worth most at the given prices."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from engine.policy.base import Load
from engine.policy.cost import StepCost
from engine.policy.mix import promise
from engine.policy.offer import UNLIKELY, Prices, best_offer, window_prices
from engine.policy.outlook import Hint
from engine.policy.record import DraftRecord
from engine.policy.refinement import Refinement
from engine.strategies.base import DraftChoice


def value(drafts: int, groups: tuple[int, ...], k: int, expected: list[float], prices: Prices) -> float:
    """By the definition: tokens, less the price of the rows, less what a cold step falls behind where one follows."""
    chances, alive = [], 1.0
    for right in expected[:drafts]:
        chances.append(alive * (1 - right))
        alive *= right
    chances.append(alive)
    tokens = sum(a * p for a, p in enumerate(chances, start=1))
    missed = 1 - sum(chances[a - 1] for a in groups)
    return tokens - prices[1 + drafts + k * len(groups)] - missed * (prices[1 + k] - 1)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_no_other_drafts_and_groups_are_worth_more(k: int) -> None:
    rng = random.Random(k)
    for _ in range(300):
        expected = [rng.uniform(0.3, 0.99) for _ in range(k - 1)]
        row, step = rng.uniform(0, 0.3), rng.uniform(0.3, 1.5)
        prices = [step + row * rows for rows in range(k * 8)]
        offer = best_offer(k, expected, prices)
        every = [
            value(drafts, groups, k, expected, prices)
            for drafts in range(k)
            for count in range(drafts + 2)
            for groups in combinations(range(1, drafts + 2), count)
        ]
        assert offer.value == pytest.approx(max(every))
        assert offer.choice.verified is not None
        own = value(offer.choice.verified, offer.choice.groups, k, expected, prices)
        assert own == pytest.approx(offer.value)


def test_free_rows_buy_everything_and_dear_rows_only_new_drafts() -> None:
    expected = [0.7, 0.6, 0.5]
    assert best_offer(4, expected, [1.5] * 40).choice == DraftChoice(4, (1, 2, 3, 4), 3)
    dear = best_offer(4, expected, [1.0 + rows for rows in range(40)]).choice
    assert (dear.verified, dear.groups) == (0, (1,))


def test_drafts_that_are_hardly_reached_are_left_out() -> None:
    assert best_offer(4, [0.9, UNLIKELY / 2, 0.9], [1.0] * 40).choice.verified == 1


def test_windows_take_no_more_groups_than_have_a_price() -> None:
    assert len(best_offer(4, [0.7, 0.6, 0.5], [1.5] * (1 + 3 + 2 * 4 + 1)).choice.groups) == 2


@pytest.mark.parametrize("sequences", [1, 8])
def test_a_window_like_all_the_others_pays_its_share_of_their_step(sequences: int) -> None:
    cost, load = StepCost([1, 64, 1024], [1.0, 2.0, 20.0]), Load(sequences)
    promised = promise(DraftChoice(4, (1, 2, 3, 4)), [0.25] * 4)
    rows = round(promised.rows)
    prices = window_prices(promised, 2.0, cost, load, 40)
    assert prices[rows] * sequences == pytest.approx(2.0 * cost(sequences * promised.rows, load))
    assert prices == sorted(prices) and prices[0] > 0


def prepared(expected_rate: float = 1.0) -> Refinement:
    refinement = Refinement(4)
    promised = promise(DraftChoice(4, (1, 2, 3, 4)), [0.25] * 4)
    refinement.prepare(promised, expected_rate, StepCost([1, 64], [1.0, 6.0]), Load(1))
    return refinement


def test_a_window_without_hints_keeps_the_common_setting() -> None:
    common = DraftChoice(4, (4, 3))
    assert prepared().refine(DraftRecord(), common, 0.5) == common


def test_sure_drafts_are_verified_and_doubtful_ones_left_out() -> None:
    refinement, record = prepared(), DraftRecord()
    verified = []
    for sure in (0.99, 0.01):
        record.hint = Hint([sure] * 3, of_next=sure)
        verified.append(refinement.refine(record, DraftChoice(4, (4,)), 0.5).most_verified)
    assert verified == [3, 0]


def test_what_a_window_left_out_is_told_as_it_was_expected() -> None:
    refinement, record = prepared(), DraftRecord()
    record.hint = Hint([0.9, 0.5, 0.1], of_next=0.9)
    refinement.refine(record, DraftChoice(4, (4,)), 0.5)
    expected = record.expected
    assert expected is not None
    assert refinement.judge(record, 1, 1, 0.5) == expected[1:]
    assert record.hint is None and refinement.judge(record, 3, 3, 0.5) == []


@pytest.mark.parametrize(("rate", "rises"), [(0.2, True), (5.0, False)])
def test_the_gain_rises_while_windows_promise_more_than_they_cost(rate: float, rises: bool) -> None:
    refinement, record = prepared(rate), DraftRecord()
    for _ in range(10):
        record.hint = Hint([0.9, 0.9, 0.9], of_next=0.9)
        refinement.refine(record, DraftChoice(4, (4,)), 0.5)
    assert (refinement.gain > 1) == rises
