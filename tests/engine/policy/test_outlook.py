"""What is expected of drafts follows what became of drafts that looked like them."""

from __future__ import annotations

import random

import pytest

from engine.policy.outlook import Hint, Outlook


def learn(outlook: Outlook, right: list[float], windows: int, seed: int = 0) -> None:
    """Windows of three drafts: those that look likely (0.9) are right as often as right[0], the others as right[1]."""
    rng = random.Random(seed)
    for _ in range(windows):
        likely = [rng.random() < 0.5 for _ in range(3)]
        hint = Hint([0.9 if each else 0.2 for each in likely], of_next=0.5)
        accepted = 0
        while accepted < 3 and rng.random() < right[0 if likely[accepted] else 1]:
            accepted += 1
        outlook.learn(hint, 0.5, outlook.expect(hint, 0.5), 3, accepted)


def test_a_surer_draft_is_expected_to_be_right_more_often() -> None:
    expected = Outlook(4).expect(Hint([0.2, 0.5, 0.9], of_next=0.5), 0.5)
    assert expected == sorted(expected) and 0 < expected[0] < expected[-1] < 1


def test_expectations_come_to_what_happens() -> None:
    outlook = Outlook(4)
    learn(outlook, [0.95, 0.6], 4000)
    likely, unlikely = (outlook.expect(Hint([p] * 3, of_next=0.5), 0.5) for p in (0.9, 0.2))
    assert likely == pytest.approx([0.95] * 3, abs=0.05)
    assert unlikely == pytest.approx([0.6] * 3, abs=0.12)


def test_a_position_has_a_level_of_its_own() -> None:
    outlook = Outlook(3)
    rng = random.Random(1)
    hint = Hint([0.5, 0.5], of_next=0.5)
    for _ in range(3000):
        accepted = 0 if rng.random() > 0.9 else 1 + (rng.random() < 0.3)
        outlook.learn(hint, 0.5, outlook.expect(hint, 0.5), 2, accepted)
    assert outlook.expect(hint, 0.5) == pytest.approx([0.9, 0.3], abs=0.12)


def test_positions_not_seen_yet_go_with_those_before_them() -> None:
    outlook = Outlook(8)
    before = outlook.expect(Hint([0.5] * 7, of_next=0.5), 0.5)
    for _ in range(200):
        hint = Hint([0.5], of_next=0.5)
        outlook.learn(hint, 0.5, outlook.expect(hint, 0.5), 1, 0)
    after = outlook.expect(Hint([0.5] * 7, of_next=0.5), 0.5)
    assert all(now < then / 2 for now, then in zip(after, before, strict=True))


@pytest.mark.parametrize("p", [0.0, 1.0, float("nan")])
def test_neither_certainty_nor_a_broken_row_spoils_what_is_known(p: float) -> None:
    outlook = Outlook(2)
    (expected,) = outlook.expect(Hint([p], of_next=p), 0.5)
    assert 0 < expected < 1
    outlook.learn(Hint([p], of_next=p), 0.5, [expected], 1, 0)
    (later,) = outlook.expect(Hint([0.9], of_next=0.9), 0.5)
    assert 0 < later < 1
