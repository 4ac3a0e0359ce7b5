"""Norm of queries and keys and their rotation in one pass, in place; twin of Layer's norms and models.rope.rotate."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor


def rotate_heads(
    heads: Tensor, cos: Tensor, sin: Tensor, query_heads: int, norms: tuple[Tensor, Tensor, float] | None
) -> None:
    """Rotate all of heads [tokens, query and key heads, head_dim] in place; each row's heads lie side by side.

    cos, sin [tokens, 1, head_dim] of `Rope.tables`; `norms`: the weights [head_dim] of the query heads' norm and the
    key heads', and their eps.
    """
    tokens, count, head_dim = heads.shape
    query_norm, key_norm, eps = norms or (cos, cos, 0.0)
    rotate_kernel[(tokens, count)](
        heads,
        cos,
        sin,
        query_norm,
        key_norm,
        eps,
        heads.stride(0),
        query_heads,
        head_dim,
        triton.next_power_of_2(head_dim // 2),
        norms is not None,
        num_warps=1,
    )


@triton.jit
def rotate_kernel(
    heads,
    cos,
    sin,
    query_norm,
    key_norm,
    eps,
    row,
    query_heads: tl.constexpr,
    head_dim: tl.constexpr,
    block: tl.constexpr,
    normed: tl.constexpr,
):
    """Grid (tokens, heads): the two halves of one head, which turn into one another."""
    token, head = tl.program_id(0), tl.program_id(1)
    half: tl.constexpr = head_dim // 2
    lane = tl.arange(0, block)
    inside = lane < half
    heads += token.to(tl.int64) * row + head * head_dim
    first = tl.load(heads + lane, mask=inside, other=0.0)
    second = tl.load(heads + half + lane, mask=inside, other=0.0)
    dtype = first.dtype
    first, second = first.to(tl.float32), second.to(tl.float32)
    if normed:
        scale = tl.rsqrt((tl.sum(first * first, 0) + tl.sum(second * second, 0)) / head_dim + eps)
        gains = query_norm if head < query_heads else key_norm
        # rounded as the twin rounds between norm and rotation
        first *= scale * tl.load(gains + lane, mask=inside, other=0.0).to(tl.float32)
        second *= scale * tl.load(gains + half + lane, mask=inside, other=0.0).to(tl.float32)
        first, second = first.to(dtype).to(tl.float32), second.to(dtype).to(tl.float32)
    cos += token * head_dim + lane
    sin += token * head_dim + lane
    # the first half of the sines comes negated
    turned_first = first * tl.load(cos, mask=inside, other=0.0).to(tl.float32) + second * tl.load(
        sin, mask=inside, other=0.0
    ).to(tl.float32)
    turned_second = second * tl.load(cos + half, mask=inside, other=0.0).to(tl.float32) + first * tl.load(
        sin + half, mask=inside, other=0.0
    ).to(tl.float32)
    tl.store(heads + lane, turned_first.to(dtype), mask=inside)
    tl.store(heads + half + lane, turned_second.to(dtype), mask=inside)
