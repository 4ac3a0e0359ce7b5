"""Gumbel noise as a pure function of (seed, position, token): the same on every device, step and schedule."""

from __future__ import annotations

import torch
from torch import Tensor


class GumbelNoise:
    """Counter-based Gumbel(0, 1) noise over one vocabulary.

    Adding it to log-probabilities and taking the argmax draws from their distribution (the Gumbel-max identity).
    Bits come from a 32-bit multiply-xorshift mixer applied to the token under a 64-bit key made of seed and position.
    """

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self._tokens = _mix(torch.arange(vocab_size, dtype=torch.int32, device=device))

    def __call__(self, seeds: Tensor, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """seeds int64 [rows], positions int64 [rows]; returns [rows, vocab_size] of `dtype` (float32 or float64)."""
        low, high = _keys(seeds, positions)
        bits = self._tokens ^ low[:, None]
        bits = _mix(bits.bitwise_xor_(bits >> 16 & 0xFFFF).add_(high[:, None]))
        # 31 bits, since a float rounds words of 32 to 0 now and then, which would be infinite noise
        uniform = bits.bitwise_and_(0x7FFFFFFF).to(dtype).add_(0.5).mul_(2.0**-31)
        # log1p(-u) keeps full precision where it matters, at the small exponentials that win the argmax.
        return torch.log1p(-uniform.clamp_(max=1 - 2.0**-24)).neg_().log_().neg_()


def _keys(seeds: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Two int32 words per row; distinct (seed, position) pairs give unrelated words."""
    position = _mix(positions.to(torch.int32))
    low = _mix(_mix(seeds.to(torch.int32)) + position)
    high = _mix(_mix((seeds >> 32).to(torch.int32)) ^ (position + low))
    return low, high


def _mix(x: Tensor) -> Tensor:
    """An invertible mixing of 32-bit words: xor-shifts (made logical by masks) and odd multiplications that wrap."""
    x = x ^ (x >> 16 & 0xFFFF)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15 & 0x1FFFF)
    x = x * (0x846CA68B - 2**32)
    return x ^ (x >> 16 & 0xFFFF)
