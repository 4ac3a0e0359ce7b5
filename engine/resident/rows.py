"""The rows of a resident batch's windows, from its state, without the host: token ids and positions."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from engine.resident.state import ResidentState
from engine.window import WindowShape


def window_rows(
    state: ResidentState, shape: WindowShape, mask_token_id: int, max_positions: int
) -> tuple[Tensor, Tensor]:
    """Token ids and positions, int64 [batch · shape.rows]; every sequence's window has the same shape.

    A place without a draft holds some token, whose row nobody reads and whose K/V the next step overwrites.
    """
    clean = state.candidates[:, : shape.clean].clamp(min=0)
    masks = clean.new_full((state.batch, shape.rows - shape.clean), mask_token_id)
    positions = state.table[:, :1].long() + offsets(shape, state.device)
    return torch.cat([clean, masks], 1).flatten(), positions.clamp(max=max_positions - 1).flatten()


@cache
def offsets(shape: WindowShape, device: torch.device) -> Tensor:
    """Position of every row relative to the prefix, int64 [shape.rows]; kept for good, as graphs read it."""
    return torch.from_numpy(shape.offsets().copy()).to(device)
