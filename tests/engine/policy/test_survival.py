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
    assert survival.conditional == pytest.approx(truth, abs=0.05)
    lengths = survival.lengths(4)
    assert lengths == pytest.approx([0.1, 0.9 * 0.3, 0.9 * 0.7 * 0.6, 0.9 * 0.7 * 0.4], abs=0.05)


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_lengths_are_a_distribution_for_every_shorter_draft_too(k: int) -> None:
    survival = Survival(8)
    for accepted in (0, 7, 3, 2, 7):
        survival.observe(7, accepted)
    lengths = survival.lengths(k)
    assert len(lengths) == k and sum(lengths) == pytest.approx(1) and min(lengths) >= 0


def test_a_draft_after_the_first_wrong_one_teaches_nothing() -> None:
    survival = Survival(5)
    survival.observe(4, 1)
    assert survival.conditional[0] > 0.5 > survival.conditional[1]
    assert survival.conditional[2:] == [0.5, 0.5]


def test_a_window_without_drafts_teaches_nothing() -> None:
    survival = Survival(5)
    survival.observe(0, 0)
    assert survival.conditional == [0.5] * 4


def test_the_estimate_follows_a_change() -> None:
    survival = Survival(2)
    for accepted in [1] * 500:
        survival.observe(1, accepted)
    assert survival.conditional[0] > 0.99
    for accepted in [0] * 500:
        survival.observe(1, accepted)
    assert survival.conditional[0] < 0.01
