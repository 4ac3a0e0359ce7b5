"""Norm of queries and keys and their rotation in one pass, in place; twin of Layer's norms and models.rope.rotate."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

#: heads per program
HEADS = 8


def rotate_heads(
    heads: Tensor, cos: Tensor, sin: Tensor, query_heads: int, norms: tuple[Tensor, Tensor, float] | None
) -> None:
    """Rotate all of heads [tokens, query and key heads, head_dim] in place; each row's heads lie side by side.

    cos, sin [tokens, 1, head_dim] of `Rope.tables`; `norms`: the weights [head_dim] of the query heads' norm and the
    key heads', and their eps.
    """
    tokens, count, head_dim = heads.shape
    query_norm, key_norm, eps = norms or (cos, cos, 0.0)
    block_heads = min(HEADS, triton.next_power_of_2(count))
    rotate_kernel[(tokens, triton.cdiv(count, block_heads))](
        heads,
        cos,
        sin,
        query_norm,
        key_norm,
        eps,
        heads.stride(0),
        count,
        query_heads,
        head_dim,
        block_heads,
        triton.next_power_of_2(head_dim // 2),
        norms is not None,
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
    count: tl.constexpr,
    query_heads: tl.constexpr,
    head_dim: tl.constexpr,
    block_heads: tl.constexpr,
    block: tl.constexpr,
    normed: tl.constexpr,
):
    """Grid (tokens, blocks of heads): the two halves of each head, which turn into one another."""
    token = tl.program_id(0)
    half: tl.constexpr = head_dim // 2
    head = tl.program_id(1) * block_heads + tl.arange(0, block_heads)[:, None]
    lane = tl.arange(0, block)
    there = lane < half
    inside = (head < count) & there[None, :]
    at = heads + token.to(tl.int64) * row + head * head_dim + lane[None, :]
    stored_first = tl.load(at, mask=inside, other=0.0)
    stored_second = tl.load(at + half, mask=inside, other=0.0)
    first, second = stored_first.to(tl.float32), stored_second.to(tl.float32)
    if normed:
        scale = tl.rsqrt((tl.sum(first * first, 1) + tl.sum(second * second, 1)) / head_dim + eps)[:, None]
        queries = head < query_heads
        gain = tl.where(queries, _spread(query_norm + lane, there), _spread(key_norm + lane, there))
        # rounded as the twin rounds between norm and rotation
        first = (first * scale * gain).to(stored_first.dtype).to(tl.float32)
        gain = tl.where(queries, _spread(query_norm + half + lane, there), _spread(key_norm + half + lane, there))
        second = (second * scale * gain).to(stored_first.dtype).to(tl.float32)
    cos += token * head_dim + lane
    sin += token * head_dim + lane
    # the first half of the sines comes negated
    turned_first = first * _spread(cos, there) + second * _spread(sin, there)
    turned_second = second * _spread(cos + half, there) + first * _spread(sin + half, there)
    tl.store(at, turned_first.to(stored_first.dtype), mask=inside)
    tl.store(at + half, turned_second.to(stored_first.dtype), mask=inside)


@triton.jit
def _spread(values, there):
    """A vector as float32, the same for every head."""
    return tl.load(values, mask=there, other=0.0).to(tl.float32)[None, :]
