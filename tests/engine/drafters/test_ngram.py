"""Prompt lookup copies what followed before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.drafters.ngram import NgramIndex


def test_what_followed_the_last_tokens_is_copied() -> None:
    assert NgramIndex(2, 4).lookup([1, 2, 3, 4, 5, 9, 2, 3], 3) == [4, 5, 9]


def test_the_longest_match_wins_over_a_later_short_one() -> None:
    tokens = [1, 2, 3, 7, 9, 2, 3, 8, 1, 2, 3]
    assert NgramIndex(2, 3).lookup(tokens, 1) == [7]
    assert NgramIndex(2, 2).lookup(tokens, 1) == [8]


def test_nothing_is_drafted_where_nothing_repeats() -> None:
    assert NgramIndex(2, 4).lookup([1, 2, 3, 4, 5], 4) == []
    assert NgramIndex(2, 4).lookup([1], 4) == []


def test_a_text_that_repeats_itself_is_followed_round() -> None:
    assert NgramIndex(1, 3).lookup([5, 6, 5, 6], 5) == [5, 6, 5, 6, 5]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 3), st.integers(0, 2), st.integers(1, 6))
def test_an_index_that_grew_says_what_a_fresh_one_and_a_plain_search_say(
    tokens: list[int], shortest: int, more: int, count: int
) -> None:
    longest = shortest + more
    grown = NgramIndex(shortest, longest)
    for length in range(1, len(tokens) + 1):
        answer = grown.lookup(tokens[:length], count)
        assert answer == NgramIndex(shortest, longest).lookup(tokens[:length], count)
        assert answer == plain_search(tokens[:length], shortest, longest, count)


def plain_search(tokens: list[int], shortest: int, longest: int, count: int) -> list[int]:
    for n in range(longest, shortest - 1, -1):
        for end in range(len(tokens) - 1, n - 1, -1):
            if tokens[end - n : end] == tokens[-n:]:
                copied = list(tokens)
                while len(copied) < len(tokens) + count:
                    copied.append(copied[end + len(copied) - len(tokens)])
                return copied[len(tokens) :]
    return []
