"""Requests whose drafts come true get more rows than those whose drafts do not."""

from __future__ import annotations

import random
from itertools import product

import pytest

from engine.policy.acceptance import Survival, outcomes
from engine.policy.auto import CURIOSITY, AutoPolicy
from engine.policy.base import Load, StepChoice
from engine.policy.classes import TURNS
from engine.policy.comparison import Comparison
from engine.policy.cost import StepCost
from engine.policy.mix import Batch, Promise, best_mix, promise
from engine.policy.record import CLASSES, DraftRecord
from engine.strategies.base import DraftChoice

ROOM = 10_000
AR = DraftChoice(1)


def record(drafted: int, accepted: int, windows: int = 50) -> DraftRecord:
    made = DraftRecord()
    for _ in range(windows):
        made.observe(drafted, accepted)
    return made


def batch(auto: AutoPolicy, hot: float, cold: float, steps: int, sequences: int = 16) -> list[DraftRecord]:
    """Every other sequence's drafts are right with probability `hot`, the others' with `cold`; returns the records."""
    rng = random.Random(0)
    records = [DraftRecord() for _ in range(sequences)]
    load = Load(sequences)
    for _ in range(steps):
        step = auto.choose_each(load, ROOM, records)
        rows = 0
        for index, each in enumerate(records):
            choice = step.of(each)
            right = hot if index % 2 else cold
            accepted = 0
            while accepted < choice.draft_length - 1 and rng.random() < right:
                accepted += 1
            auto.observe_window(choice.draft_length - 1, accepted, each)
            rows += choice.rows
        auto.observe_step(rows, load, auto.cost(rows, load))
    return records


def test_a_new_request_is_taken_to_be_like_the_others() -> None:
    assert [DraftRecord().kind(share) for share in (0.1, 0.4, 0.7, 0.9)] == list(range(CLASSES))


def test_a_request_is_known_by_its_own_drafts_soon() -> None:
    assert record(7, 7, windows=1).kind(0.1) == record(7, 7).kind(0.1) == CLASSES - 1
    assert record(7, 0, windows=8).kind(0.9) == 0


def test_without_drafts_what_a_request_was_like_is_forgotten() -> None:
    made = record(7, 0)
    assert made.kind(0.9) == 0
    for _ in range(200):
        made.observe(0, 0)
    assert made.kind(0.9) == CLASSES - 1


@pytest.mark.parametrize("k", [2, 4, 8])
def test_a_promise_is_what_a_long_run_brings(k: int) -> None:
    """Tokens and rows per step against a simulation of warm and cold steps."""
    rng = random.Random(k)
    choice = DraftChoice(k, (1, k))
    lengths = outcomes([0.7] * (k - 1), k)
    promised = promise(choice, lengths)
    tokens, rows, steps, warm = 0, 0, 40_000, False
    for _ in range(steps):
        if warm:
            accepted = rng.choices(range(1, k + 1), lengths)[0]
            tokens += accepted
            rows += choice.rows
            warm = accepted in choice.groups
        else:
            tokens += 1
            rows += choice.cold_rows
            warm = True
    assert promised.tokens == pytest.approx(tokens / steps, rel=0.02)
    assert promised.rows == pytest.approx(rows / steps, rel=0.02)


def test_the_mix_is_the_best_of_all_or_close_to_it() -> None:
    """Against every combination, on machines with free rows up to a knee."""
    rng = random.Random(1)
    shares = []
    for _ in range(40):
        knee = rng.choice([8, 40, 100, 300])
        cost = StepCost([1, knee, 4 * knee], [1.0, 1.1, 4.4])
        counts = [rng.randrange(1, 12) for _ in range(CLASSES)]
        promises = []
        for _ in range(CLASSES):
            lengths = outcomes([rng.random()] * 7, 8)
            choices = [AR, DraftChoice(2), DraftChoice(4, (1, 4)), DraftChoice(8, (1, 2, 8)), DraftChoice(8)]
            promises.append([promise(c, _cut(lengths, c.draft_length)) for c in choices])

        def seconds(rows: float, cost: StepCost = cost, load: Load = Load(sum(counts))) -> float:
            return cost(rows, load)

        whole = Batch(counts, seconds, ROOM)
        mix = best_mix(whole, promises, [own[0] for own in promises])
        shares.append(whole.rate(mix) / max(map(whole.rate, product(*promises))))
    assert min(shares) > 0.9
    assert sum(shares) / len(shares) > 0.995


def _cut(lengths: list[float], k: int) -> list[float]:
    return [*lengths[: k - 1], sum(lengths[k - 1 :])]


def test_the_mix_keeps_to_the_row_budget() -> None:
    long = promise(DraftChoice(8, tuple(range(1, 9))), outcomes([0.9] * 7, 8))
    plain = Promise(AR, 1.0, 1.0)
    whole = Batch([4, 4], lambda rows: 1.0 + rows / 1e6, 4 * long.choice.rows + 4)
    mix = best_mix(whole, [[plain, long]] * 2, [plain] * 2)
    assert sorted(p.choice.draft_length for p in mix) == [1, 8]


def test_hot_requests_get_long_windows_and_cold_ones_none_where_rows_are_dear() -> None:
    auto = AutoPolicy([2, 4, 8], StepCost([1, 64, 1024], [1.0, 1.0, 16.0]))
    records = batch(auto, hot=0.95, cold=0.05, steps=600)
    settings = auto.classes.settings
    assert settings
    usual = auto.classes.usual
    assert settings[records[1].kind(usual)].draft_length > 2
    assert settings[records[0].kind(usual)] == AR


def test_a_step_of_several_settings_is_counted_as_that_of_most_sequences() -> None:
    short, long = DraftChoice(2), DraftChoice(8, (1,))
    step = StepChoice(AR, (AR, AR, short, long), usual=0.9)
    hot, cold = record(7, 7), record(7, 0)
    assert step.commonest([hot, hot, cold]) == long
    assert step.commonest([hot, cold, cold]) == AR
    assert StepChoice(short, scouts=[hot], scouting=long).commonest([hot]) == short


def test_scouts_have_a_setting_of_their_own_and_nobody_else_has() -> None:
    scout, like_it = DraftRecord(), DraftRecord()
    step = StepChoice(AR, scouts=[scout], scouting=DraftChoice(2))
    assert step.of(scout) == DraftChoice(2)
    assert step.of(like_it) == AR


def test_while_a_batch_decodes_plainly_few_draft_and_take_turns() -> None:
    """Where rows are free one always does; where each costs a row's step, for a small share of the time."""
    for free, most, least in ((True, 1.0, 0.9), (False, 0.3, 0.001)):
        cost = [1.0, 1.0 if free else 64.0, 4096.0]
        auto = AutoPolicy([2, 4], StepCost([1, 64, 4096], cost))
        records = [DraftRecord() for _ in range(16)]
        for each in records * 60:
            auto.observe_window(3, 0, each)
        auto.choice = AR
        steps = [auto.scouts.among(records, step, Load(16)) for step in range(640)]
        assert least <= sum(len(scouts) for scouts in steps) / 640 <= most
        assert len({id(scout) for scouts in steps for scout in scouts}) == 10


def test_scouts_rest_for_as_long_as_they_are_seen_to_cost() -> None:
    """The table says that a row is free, the clock that a step with a scout takes half as long again."""
    auto = AutoPolicy([2, 4], StepCost([1, 64], [1.0, 1.0]))
    records = [DraftRecord() for _ in range(4)]
    load, scouting = Load(4), 0
    for step in range(20_000):
        scouts = auto.scouts.among(records, step, load)
        scouting += bool(scouts)
        if scouts:
            auto.scouts.observe(load, 1.5)
    assert 0.5 * CURIOSITY <= scouting * 0.5 / 20_000 <= 1.5 * CURIOSITY


def test_steps_with_scouts_teach_nothing_of_plain_ones() -> None:
    auto = AutoPolicy([2, 4], StepCost([1, 64, 4096], [1.0, 64.0, 4096.0]))
    records, load = [DraftRecord() for _ in range(16)], Load(16)
    for each in records * 60:
        auto.observe_window(3, 0, each)
    for _ in range(2000):
        choice = auto.choose_each(load, 4096, records)
        for record in records:
            auto.observe_window(0, 0, record)
        auto.observe_step(18 if choice.scouts else 16, load, 99.0 if choice.scouts else 16.0)
    assert auto.cost(16, load) == pytest.approx(16.0, rel=0.05)
    # nor does the loop that runs ahead, which has one setting for all, take what follows for a scout's
    while not auto.choose_each(load, 4096, records).scouts:
        pass
    before = auto.cost(16, load)
    auto.choose(load, 4096)
    auto.observe_step(16, load, 32.0)
    assert auto.cost(16, load) > before


def test_requests_that_draft_alike_get_one_setting() -> None:
    auto = AutoPolicy([2, 4, 8], StepCost([1, 64, 1024], [1.0, 1.0, 16.0]))
    batch(auto, hot=0.8, cold=0.8, steps=600)
    assert auto.classes.settings == ()


def test_a_step_with_prompts_tells_nothing_of_what_classes_bring() -> None:
    """Its time is not observed, and so its tokens must not count for the step after it."""
    auto = AutoPolicy([2, 4, 8], StepCost([1, 64, 1024], [1.0, 1.0, 16.0]))
    records = batch(auto, hot=0.95, cold=0.05, steps=600)
    # a step in which a rival is tried counts for neither way
    auto._next_probe = auto._steps + 100
    seen: list[int] = []
    auto.classes.comparison.observe = lambda tokens, seconds: seen.append(tokens)  # type: ignore[method-assign]
    for _ in range(2):
        auto.choose_each(Load(16), ROOM, records)
        for each in records:
            auto.observe_window(0, 0, each)
    auto.observe_step(16, Load(16), 1.0)
    assert seen == [16]


def test_both_ways_take_turns_while_classes_are_wanted() -> None:
    comparison = Comparison(TURNS)
    turns = [comparison.apart() for _ in range(10 * (TURNS.apart + TURNS.together))]
    assert sum(turns) == 10 * TURNS.apart


@pytest.mark.parametrize("gain", [0.9, 1.1])
def test_classes_that_bring_nothing_are_given_up_for_long(gain: float) -> None:
    comparison = Comparison(TURNS)
    turns = []
    for _ in range(TURNS.pause):
        turns.append(comparison.apart())
        comparison.observe(100, 1.0 / (gain if turns[-1] else 1.0))
    judged = 2 * (TURNS.apart + TURNS.together)
    assert (sum(turns[judged:]) == 0) == (gain < 1)
    later = [comparison.apart() for _ in range(TURNS.pause)]
    assert any(later)


def test_a_class_leans_on_everybody_until_it_has_been_seen() -> None:
    everybody = Survival(4)
    for _ in range(500):
        everybody.observe(3, 3)
    known = Survival(4).conditional(everybody.conditional())
    assert known == pytest.approx(everybody.conditional())


def test_drafts_that_no_window_has_reached_fall_off_as_those_before_them_do() -> None:
    rng = random.Random(0)
    steady, fading = Survival(16), Survival(16)
    for _ in range(2000):
        steady.observe(5, _right(rng, [0.8] * 5))
        fading.observe(5, _right(rng, [0.8, 0.6, 0.45, 0.34, 0.25]))
    assert steady.conditional()[-1] > 0.6
    assert fading.conditional()[8] < 0.15


def _right(rng: random.Random, chances: list[float]) -> int:
    for accepted, chance in enumerate(chances):
        if rng.random() >= chance:
            return accepted
    return len(chances)
