"""Which setting each class of requests gets, so that the whole batch commits the most tokens per second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.strategies.base import DraftChoice

#: rounds over the classes after which their settings are taken as they are
ROUNDS = 3
#: tokens that a row may be worth
PRICES = (0.0, 0.01, 0.02, 0.04, 0.08, 0.12, 0.18, 0.26, 0.36, 0.5, 0.7)


@dataclass(frozen=True, slots=True)
class Promise:
    """What a setting does for one sequence: committed tokens and rows per step, both means over warm and cold steps, and
    `cold` steps to every warm one."""

    choice: DraftChoice
    tokens: float
    rows: float
    cold: float = 0.0


def promise(choice: DraftChoice, lengths: list[float], masks: bool = True) -> Promise:
    """`lengths` are P(acceptance length = a), a = 1 … k.

    After an outcome without a pre-draft group a cold step commits one token: of 1 + c steps c are cold, where c is the
    probability of such an outcome, as drafts that come from beside the forward never are.
    """
    if choice.draft_length == 1:
        return Promise(choice, 1.0, 1.0)
    cold = max(0.0, 1 - sum(lengths[a - 1] for a in choice.groups)) if masks else 0.0
    tokens = sum(a * p for a, p in enumerate(lengths, start=1)) + cold
    return Promise(choice, tokens / (1 + cold), (choice.rows + cold * choice.cold_rows) / (1 + cold), cold)


def best_mix(
    counts: Sequence[int],
    promises: Sequence[Sequence[Promise]],
    seconds: Callable[[float], float],
    row_budget: int,
    start: Sequence[Promise],
) -> list[Promise]:
    """One promise for each class, of those that it has, given how many sequences each class holds.

    For a given number of rows the best division has one price per row (a Lagrange multiplier) at which every class
    takes what is worth most to it; so a few prices are tried, and from the best of what they give, or `start`, class
    after class takes what makes the whole batch fastest, until none changes. A class that holds nobody is answered as
    if it held one. `seconds` is the time of a step of so many rows in all.
    """
    starts = [list(start)]
    for price in PRICES:
        bought = [_bought(own, price) for own in promises]
        if sum(n * p.choice.rows for n, p in zip(counts, bought, strict=True)) <= row_budget:
            starts.append(bought)
    best = max(starts, key=lambda mix: mix_rate(counts, mix, seconds))
    return _ascend(counts, promises, seconds, row_budget, best)


def _bought(own: Sequence[Promise], price: float) -> Promise:
    return max(own, key=lambda p: p.tokens - price * p.rows)


def _ascend(
    counts: Sequence[int],
    promises: Sequence[Sequence[Promise]],
    seconds: Callable[[float], float],
    row_budget: int,
    mix: list[Promise],
) -> list[Promise]:
    for _ in range(ROUNDS):
        before = list(mix)
        for kind, own in enumerate(promises):
            mix[kind] = _best_response(kind, max(counts[kind], 1), own, counts, mix, seconds, row_budget)
        if mix == before:
            break
    return mix


def _best_response(
    kind: int,
    count: int,
    own: Sequence[Promise],
    counts: Sequence[int],
    mix: Sequence[Promise],
    seconds: Callable[[float], float],
    row_budget: int,
) -> Promise:
    others = [(n, p) for other, (n, p) in enumerate(zip(counts, mix, strict=True)) if other != kind and n]
    tokens = sum(n * p.tokens for n, p in others)
    rows = sum(n * p.rows for n, p in others)
    room = row_budget - sum(n * p.choice.rows for n, p in others)
    fitting = [p for p in own if count * p.choice.rows <= room] or own[:1]
    return max(fitting, key=lambda p: (tokens + count * p.tokens) / seconds(rows + count * p.rows))


def mix_rate(counts: Sequence[int], mix: Sequence[Promise], seconds: Callable[[float], float]) -> float:
    """Committed tokens per second of the whole batch."""
    held = [(n, p) for n, p in zip(counts, mix, strict=True) if n]
    return sum(n * p.tokens for n, p in held) / seconds(sum(n * p.rows for n, p in held))
