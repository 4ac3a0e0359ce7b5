"""The running estimate of how far drafts survive."""

from __future__ import annotations

import random

import pytest

from engine.policy.acceptance import Survival


def test_the_estimate_converges_to_the_true_rates() -> None:
    rng = random.Random(0)
    truth = [0.9, 0.7, 0.4]
    survival = Survival(4, decay=0.999)
    for _ in range(20_000):
        accepted = next((j for j, p in enumerate(truth) if rng.random() > p), 3)
        survival.observe(3, accepted)
    assert survival.conditional() == pytest.approx(truth, abs=0.05)
    lengths = survival.lengths(4)
    assert lengths == pytest.approx([0.1, 0.9 * 0.3, 0.9 * 0.7 * 0.6, 0.9 * 0.7 * 0.4], abs=0.05)


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_lengths_are_a_distribution_for_every_shorter_draft_too(k: int) -> None:
    survival = Survival(8)
    for accepted in (0, 7, 3, 2, 7):
        survival.observe(7, accepted)
    lengths = survival.lengths(k)
    assert len(lengths) == k and sum(lengths) == pytest.approx(1) and min(lengths) >= 0


def test_before_anything_is_seen_later_drafts_are_trusted_less() -> None:
    conditional = Survival(5).conditional()
    assert conditional == sorted(conditional, reverse=True) and 0 < conditional[-1] < conditional[0] <= 0.5


def test_a_draft_after_the_first_wrong_one_teaches_nothing() -> None:
    """Drafts that were not reached lean on the one before them, and on nothing else."""
    wrong_at_two, stopped_at_two = Survival(5), Survival(5)
    wrong_at_two.observe(4, 1)
    stopped_at_two.observe(2, 1)
    assert wrong_at_two.conditional() == stopped_at_two.conditional()


def test_a_position_no_window_reaches_follows_the_one_before_it() -> None:
    often, rarely = Survival(4), Survival(4)
    for _ in range(500):
        often.observe(1, 1)
        rarely.observe(1, 0)
    assert often.conditional()[1] > 0.7 > 0.1 > rarely.conditional()[1]


def test_a_window_without_drafts_teaches_nothing() -> None:
    survival = Survival(5)
    survival.observe(0, 0)
    assert survival.conditional() == Survival(5).conditional()


def test_the_estimate_follows_a_change() -> None:
    survival = Survival(2)
    for accepted in [1] * 3000:
        survival.observe(1, accepted)
    assert survival.conditional()[0] > 0.99
    for accepted in [0] * 3000:
        survival.observe(1, accepted)
    assert survival.conditional()[0] < 0.01


def test_what_was_seen_long_before_counts_less_than_what_is_seen_now() -> None:
    survival = Survival(2)
    for _ in range(1000):
        survival.observe(1, 0)
    for _ in range(3000):
        survival.fade()
    for _ in range(10):
        survival.observe(1, 1)
    assert survival.conditional()[0] > 0.6


def test_drafts_that_were_left_out_count_as_they_were_expected() -> None:
    """Else a position is known by its likely drafts alone."""
    rng = random.Random(2)
    seen, chosen = Survival(2), Survival(2)
    for _ in range(3000):
        likely = rng.random() < 0.5
        right = rng.random() < (0.9 if likely else 0.1)
        seen.observe(1, int(right))
        if likely:
            chosen.observe(1, int(right))
        else:
            chosen.observe(0, 0, [0.1])
    assert chosen.conditional() == pytest.approx(seen.conditional(), abs=0.08)


def test_what_is_left_out_behind_a_wrong_draft_says_nothing() -> None:
    survival = Survival(4)
    before = survival.conditional()
    survival.observe(1, 0, [0.9, 0.9])
    after = survival.conditional()
    assert after[0] < before[0] and after[1:] == pytest.approx([p * after[0] / before[0] for p in before[1:]], rel=0.2)
