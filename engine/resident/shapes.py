"""Which window a resident batch uses: one shape for all its sequences, from a small set that graphs can cover."""

from __future__ import annotations

from engine.strategies.base import DraftChoice
from engine.window import WindowShape

#: batch sizes that steps are padded to
BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def bucket(sequences: int) -> int:
    """The least batch size that holds so many sequences; beyond the table, their own number."""
    return next((size for size in BUCKETS if size >= sequences), sequences)


def resident_shape(choice: DraftChoice, batch: int, row_budget: int, cold: bool) -> WindowShape | None:
    """The window of every sequence for this choice, or None where not even the drafts fit the row budget.

    With groups, the one that sees d_0 alone is always among them: in the same window it serves a sequence that has no
    drafts. Without groups, steps that verify alternate with `cold` steps that draft.
    """
    k = choice.draft_length
    if k == 1:
        return WindowShape(1) if batch <= row_budget else None
    groups = resident_groups(choice, (row_budget // batch - k) // k)
    if groups:
        return WindowShape(k, groups, k)
    if batch * (1 + k) > row_budget:
        return None
    return WindowShape(1, (1,), k) if cold else WindowShape(k)


def resident_groups(choice: DraftChoice, most: int) -> tuple[int, ...]:
    """As many groups as the choice has, rounded to none, 2, 3 or all: the last outcome and the first ones."""
    k = choice.draft_length
    count = min(len(choice.groups), most)
    if count >= k:
        return tuple(range(1, k + 1))
    if not choice.groups or most < 2:
        return ()
    return (*range(1, min(max(count, 2), 3)), k)
