"""Acceptance and the choice of the group that came true, for a whole batch at once."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from engine.window import WindowShape


def accepted_lengths(candidates: Tensor, sampled: Tensor) -> Tensor:
    """Acceptance length 1..k per sequence, int64 [batch]; candidates and sampled int64 [batch, k].

    sampled[:, i] is the token after candidates[:, i]; a candidate counts while all before it agreed.
    """
    agrees = (candidates[:, 1:] == sampled[:, :-1]).long()
    return agrees.cumprod(1).sum(1) + 1


def chosen_rows(shape: WindowShape, accepted: Tensor) -> tuple[Tensor, Tensor]:
    """Window rows of masks 1..k-1 of the group for each outcome, int64 [batch, k - 1], and whether there is one.

    Where the window carries no such group the rows are another's. The shape has groups.
    """
    start = _group_starts(shape, accepted.device).index_select(0, accepted)
    masks = torch.arange(1, shape.group_length, device=accepted.device)
    return start.clamp(min=0)[:, None] + masks, start >= 0


@cache
def _group_starts(shape: WindowShape, device: torch.device) -> Tensor:
    """Index of the first mask of the group for acceptance lengths 0..k, or -1; kept for good, as graphs read it."""
    groups = [shape.group_rows(accepted) for accepted in range(shape.clean + 1)]
    return torch.tensor([-1 if group is None else group.start for group in groups], device=device)
