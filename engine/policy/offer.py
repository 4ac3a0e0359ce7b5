"""What a single window is worth: as many of its drafts, and groups for as many outcomes, as pay for their rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from engine.policy.base import Load
from engine.policy.cost import StepCost
from engine.policy.mix import Promise
from engine.strategies.base import DraftChoice

#: drafts that are reached less often than this are not looked at
UNLIKELY = 0.02
#: what a window without rows would pay at least, of its share of the promised step
LEAST_SHARE = 0.1

#: tokens that a window of so many rows has to bring to be worth its share of the step, by rows
Prices = list[float]


def window_prices(promised: Promise, rate: float, cost: StepCost, load: Load, most_rows: int) -> Prices:
    """Prices of a window of 0 … `most_rows` rows under this load, where all have the promised setting and a second is
    worth `rate` tokens.

    A window pays its share of the promised step, and for rows beyond that what rows cost on average between plain
    decoding and a step as much larger than the promised as that is smaller.
    """
    plain = load.sequences
    total = plain * promised.rows
    slope = cost.slope(plain, 2 * max(total, 1.5 * plain) - plain, load)
    share = cost(total, load) / plain
    seconds = (share + slope * (rows - promised.rows) for rows in range(most_rows + 1))
    return [rate * max(each, LEAST_SHARE * share) for each in seconds]


@dataclass(frozen=True, slots=True)
class Offer:
    """A window's setting and what it promises: committed tokens less the price of its rows, and less what a cold step
    costs as often as one must follow."""

    choice: DraftChoice
    value: float


def best_offer(draft_length: int, expected: list[float], prices: Prices) -> Offer:
    """For a window whose drafts, d_1 first, are right with these probabilities, each given those before it.

    The rule is that of an average reward: where the best choices come to μ tokens per second, a window takes what
    maximises E[tokens] - μ·seconds - P(cold next)·Δ. Here Δ = μ·seconds(cold) - 1 is what a cold step, which commits
    one token, falls behind.
    """
    k = draft_length
    behind = prices[1 + k] - 1
    best: tuple[int, tuple[int, ...]] = (0, ())
    best_value = 1 - prices[1] - behind
    rejected: list[float] = []
    alive = tokens = 1.0
    for drafts in range(min(k - 1, len(expected)) + 1):
        if drafts:
            right = expected[drafts - 1]
            rejected.append(alive * (1 - right))
            alive *= right
            tokens += alive
            if alive < UNLIKELY:
                break
        chances = [*rejected, alive]
        order = sorted(range(drafts + 1), key=lambda a: -chances[a])
        missed = 1.0
        for groups in range(min(drafts + 1, (len(prices) - 2 - drafts) // k) + 1):
            if groups:
                missed -= chances[order[groups - 1]]
            value = tokens - prices[1 + drafts + groups * k] - missed * behind
            if value > best_value:
                best, best_value = (drafts, tuple(order[:groups])), value
    return Offer(_choice(k, *best), best_value)


@lru_cache(maxsize=4096)
def _choice(draft_length: int, drafts: int, outcomes: tuple[int, ...]) -> DraftChoice:
    """`outcomes` count right drafts, from 0; acceptance lengths count d_0 too."""
    return DraftChoice(draft_length, tuple(a + 1 for a in outcomes), drafts)
