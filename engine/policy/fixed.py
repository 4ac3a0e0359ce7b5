"""A setting that the operator fixed: --draft-length with --predrafts full, none or N."""

from __future__ import annotations

from engine.policy.acceptance import Survival
from engine.policy.base import Load, Policy
from engine.policy.record import DraftRecord
from engine.strategies.base import DraftChoice


class FixedPolicy(Policy):
    """Always the same k and number of pre-draft groups; N groups go to the N most likely acceptance lengths."""

    def __init__(self, draft_length: int, groups: int) -> None:
        self.draft_length = draft_length
        self.groups = min(groups, draft_length) if draft_length > 1 else 0
        self.survival = Survival(draft_length)

    def choose(self, load: Load, row_budget: int) -> DraftChoice:
        return DraftChoice(self.draft_length, likeliest(self.survival.lengths(self.draft_length), self.groups))

    def observe_window(self, drafted: int, accepted: int, record: DraftRecord) -> None:
        self.survival.observe(drafted, accepted)

    def observe_step(self, rows: int, load: Load, seconds: float) -> None:
        """A fixed setting does not depend on what steps cost."""

    def expected_rate(self, load: Load) -> float:
        return 0.0


def likeliest(lengths: list[float], groups: int) -> tuple[int, ...]:
    """The `groups` acceptance lengths of highest probability, most likely first."""
    order = sorted(range(1, len(lengths) + 1), key=lambda a: -lengths[a - 1])
    return tuple(order[:groups])
