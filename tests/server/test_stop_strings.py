"""The stop matcher, without a server."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from server.stop_strings import StopMatcher

TEXTS = st.text("ab\n ", max_size=40)
STOPS = st.lists(st.text("ab\n ", min_size=1, max_size=4), min_size=1, max_size=3)


def read(stops: list[str], pieces: list[str], include: bool = False) -> tuple[str, str | None]:
    """What is shown of a text that arrives in these pieces, and the stop string that ended it."""
    matcher = StopMatcher(stops, include)
    shown = ""
    for piece in pieces:
        shown += matcher.push(piece)
    if matcher.match is None:
        shown += matcher.flush()
    return shown, matcher.match


def test_text_before_the_stop_string_is_shown_and_the_stop_string_is_not() -> None:
    assert read(["\n\n"], ["a = 1\n\nb = 2"]) == ("a = 1", "\n\n")


def test_a_stop_string_may_be_kept() -> None:
    assert read(["\n\n"], ["a = 1\n\nb = 2"], include=True) == ("a = 1\n\n", "\n\n")


def test_only_a_possible_beginning_is_held_back() -> None:
    matcher = StopMatcher(["END"])
    assert matcher.push("the E") == "the "
    assert matcher.push("N") == ""
    assert matcher.push("T") == "ENT"


def test_what_was_held_back_is_shown_at_the_end() -> None:
    assert read(["END"], ["the EN"]) == ("the EN", None)


def test_the_stop_string_that_is_complete_first_wins() -> None:
    assert read(["abc", "b"], ["abc"]) == ("a", "b")


def test_of_two_that_end_together_the_longer_wins() -> None:
    assert read(["b", "ab"], ["xab"]) == ("x", "ab")


def test_a_stop_string_that_overlaps_its_own_beginning_is_found() -> None:
    assert read(["aab"], list("aaab")) == ("a", "aab")


@given(text=TEXTS, stops=STOPS, cuts=st.lists(st.integers(0, 40)), include=st.booleans())
def test_how_the_text_is_divided_changes_nothing(text: str, stops: list[str], cuts: list[int], include: bool) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut <= len(text)), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    assert read(stops, pieces, include) == read(stops, list(text), include)


@given(text=TEXTS, stops=STOPS)
def test_what_is_shown_ends_at_the_first_complete_stop_string(text: str, stops: list[str]) -> None:
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    if not ends:
        assert read(stops, [text]) == (text, None)
        return
    met = max((stop for stop in stops if text[: ends[0]].endswith(stop)), key=len)
    assert read(stops, [text]) == (text[: ends[0] - len(met)], met)
