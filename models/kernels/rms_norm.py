"""RMSNorm in one pass, with the addition to the residual stream before it; twin of models.decoder.RMSNorm."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float, delta: Tensor | None = None) -> Tensor:
    """x / rms(x) · weight over the last dimension of x [tokens, size]; with `delta`, x becomes x + delta first."""
    out = torch.empty_like(x)
    tokens, size = x.shape
    block = triton.next_power_of_2(size)
    rms_norm_kernel[(tokens,)](
        x, x if delta is None else delta, weight, out, eps, size, block, delta is not None, num_warps=norm_warps(block)
    )
    return out


def norm_warps(block: int) -> int:
    """About eight elements per thread."""
    return min(16, max(1, block // 256))


@triton.jit
def rms_norm_kernel(x, delta, weight, out, eps, size: tl.constexpr, block: tl.constexpr, adds: tl.constexpr):
    """Grid (tokens,): contiguous rows of `size`; sums are float32, the stream is rounded as it is stored."""
    start = tl.program_id(0).to(tl.int64) * size
    lane = tl.arange(0, block)
    inside = lane < size
    row = tl.load(x + start + lane, mask=inside, other=0.0)
    if adds:
        row = (row.to(tl.float32) + tl.load(delta + start + lane, mask=inside, other=0.0).to(tl.float32)).to(row.dtype)
        tl.store(x + start + lane, row, mask=inside)
    wide = row.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, 0) / size + eps)
    gain = tl.load(weight + lane, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + start + lane, (wide * scale * gain).to(row.dtype), mask=inside)
