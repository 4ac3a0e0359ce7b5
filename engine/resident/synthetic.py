"""Acceptance forced at random, to measure speeds that drafts of a given quality would bring. Not lossless."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.resident.step import Accepts


def accept_at_random(rate: float) -> Accepts:
    """Each draft after an accepted one is accepted with probability `rate`, whatever the model says."""

    def accepts(candidates: Tensor, sampled: Tensor) -> Tensor:
        drafts = candidates[:, 1:]
        agrees = (torch.rand(drafts.shape, device=drafts.device) < rate) & (drafts >= 0)
        return agrees.long().cumprod(1).sum(1) + 1

    return accepts
