"""How a prefix is cut: a function of its own length alone, so that batch mates never change a result."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def split_span(prefix, split: tl.constexpr, max_splits: tl.constexpr, block_keys: tl.constexpr):
    """Keys per split: `split`, or as many whole blocks as leave no more than `max_splits` of them."""
    return tl.maximum(tl.cdiv(tl.cdiv(prefix, max_splits), block_keys) * block_keys, split)
