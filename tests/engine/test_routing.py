"""Where a prompt goes: to what is cached, but never far from the least load."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.routing import LEADING_PAGES, Router, choose

SIZE = 4
engines = st.integers(1, 5)
prompt = st.lists(st.integers(0, 3), max_size=24)


@st.composite
def situations(draw: st.DrawFn) -> tuple[dict[int, int], dict[int, int], int, dict[int, int]]:
    """Cached pages, loads, margin and pages held of some engines."""
    numbers = draw(st.lists(st.integers(0, 7), min_size=1, max_size=5, unique=True))
    each = st.integers(0, 20)
    cached, loads, held = ({number: draw(each) for number in numbers} for _ in range(3))
    return cached, loads, draw(st.integers(0, 10)), held


@given(situations())
def test_the_chosen_engine_has_the_most_cached_of_those_that_are_not_too_busy(
    situation: tuple[dict[int, int], dict[int, int], int, dict[int, int]],
) -> None:
    cached, loads, margin, held = situation
    chosen = choose(cached, loads, margin, held)
    near = min(loads.values()) + margin
    assert loads[chosen] <= near
    best = max(cached[engine] for engine in loads if loads[engine] <= near)
    assert cached[chosen] == best or best == 0
    equals = [engine for engine in loads if cached[engine] == cached[chosen]] if best else list(loads)
    assert loads[chosen] == min(loads[engine] for engine in equals)


@given(engines, st.lists(prompt, max_size=40), st.integers(0, 4))
def test_engines_never_drift_further_apart_than_the_margin_and_one(
    count: int, prompts: list[list[int]], margin: int
) -> None:
    """Whatever the prompts share, nothing finishing: the worst case for balance."""
    router = Router(count, SIZE, capacity=100, margin=margin)
    loads = dict.fromkeys(range(count), 0)
    for tokens in prompts:
        loads[router.route(tokens, loads)] += 1
        assert max(loads.values()) - min(loads.values()) <= margin + 1


@given(st.integers(2, 5), st.lists(prompt, min_size=1, max_size=20), prompt)
def test_what_continues_a_prompt_follows_it(count: int, prompts: list[list[int]], more: list[int]) -> None:
    """With idle engines and room to remember, a continuation goes where the longest of its beginnings went."""
    router = Router(count, SIZE, capacity=1000, margin=0)
    idle = dict.fromkeys(range(count), 0)
    went = {tuple(tokens): router.route(tokens, idle) for tokens in prompts}
    longest = max(prompts, key=len)
    if len(longest) > SIZE:
        shared = (len(longest) - 1) // SIZE
        rivals = {
            engine for tokens, engine in went.items() if list(tokens[: shared * SIZE]) == longest[: shared * SIZE]
        }
        assert router.route(longest + more, idle) in rivals


@given(st.lists(prompt, max_size=60), st.integers(1, 10))
def test_no_more_is_remembered_than_an_engine_can_hold(prompts: list[list[int]], capacity: int) -> None:
    router = Router(2, SIZE, capacity, margin=1)
    for tokens in prompts:
        router.route(tokens, {0: 0, 1: 0})
        assert all(len(pages) <= capacity for pages in router._pages)


def test_prompts_that_share_nothing_are_spread_over_idle_engines() -> None:
    router = Router(2, SIZE, capacity=100, margin=4)
    chosen = [router.route([token] * 9, {0: 0, 1: 0}) for token in range(10)]
    assert chosen.count(0) == chosen.count(1) == 5


def test_a_busy_engine_loses_even_what_it_has_cached() -> None:
    router = Router(2, SIZE, capacity=100, margin=3)
    home = router.route([7] * 20, {0: 0, 1: 0})
    other = 1 - home
    assert router.route([7] * 20, {home: 3, other: 0}) == home
    assert router.route([7] * 20, {home: 4, other: 0}) == other


def test_a_dead_engine_is_not_chosen_and_what_it_had_is_forgotten() -> None:
    router = Router(2, SIZE, capacity=100, margin=3)
    home = router.route([7] * 20, {0: 0, 1: 0})
    other = 1 - home
    assert router.route([7] * 20, {other: 0}) == other
    router.forget(home)
    assert router.route([7] * 20, {home: 0, other: 1}) == other


def test_the_last_token_and_pages_far_in_do_not_count() -> None:
    """An exact multiple of the page size leaves its last page to be computed, as the engine does."""
    router = Router(2, SIZE, capacity=10_000, margin=0)
    assert len(router._hashes([1] * SIZE)) == 0
    assert len(router._hashes([1] * (SIZE + 1))) == 1
    assert len(router._hashes([1] * SIZE * LEADING_PAGES * 2)) == LEADING_PAGES
