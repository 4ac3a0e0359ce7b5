"""silu(gate) · up in one pass; twin of the line in models.decoder.Layer."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


def swiglu(gate_up: Tensor) -> Tensor:
    """gate_up [tokens, 2 · size], the gate first; returns [tokens, size]."""
    tokens, size = gate_up.shape[0], gate_up.shape[1] // 2
    out = torch.empty(tokens, size, dtype=gate_up.dtype, device=gate_up.device)
    swiglu_kernel[(tokens, triton.cdiv(size, BLOCK))](gate_up, out, size, BLOCK)
    return out


@triton.jit
def swiglu_kernel(gate_up, out, size: tl.constexpr, block: tl.constexpr):
    """Grid (tokens, blocks of a row)."""
    token = tl.program_id(0).to(tl.int64)
    lane = tl.program_id(1) * block + tl.arange(0, block)
    inside = lane < size
    gate = tl.load(gate_up + token * 2 * size + lane, mask=inside, other=0.0)
    up = tl.load(gate_up + token * 2 * size + size + lane, mask=inside, other=0.0)
    wide = gate.to(tl.float32)
    # rounded as the twin rounds between its two operations
    active = (wide / (1.0 + tl.exp(-wide))).to(gate.dtype).to(tl.float32)
    tl.store(out + token * size + lane, (active * up.to(tl.float32)).to(gate.dtype), mask=inside)
