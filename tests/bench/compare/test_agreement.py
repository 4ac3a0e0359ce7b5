"""How far answers agree."""

from __future__ import annotations

from bench.compare.agreement import Agreement


def test_equal_answers_agree_wholly() -> None:
    assert Agreement.between([[1, 2], [3]], [[1, 2], [3]]) == Agreement(2, 2, 1.0)


def test_tokens_count_up_to_the_first_difference() -> None:
    assert Agreement.between([[1, 9, 3, 4], [5]], [[1, 2, 3, 4], [5]]) == Agreement(1, 2, 2 / 5)


def test_an_answer_that_ends_early_is_not_equal_and_agrees_as_far_as_it_goes() -> None:
    assert Agreement.between([[1, 2]], [[1, 2, 3, 4]]) == Agreement(0, 1, 0.5)


def test_no_tokens_at_all_agree() -> None:
    assert Agreement.between([[]], [[]]) == Agreement(1, 1, 1.0)
