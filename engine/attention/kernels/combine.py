"""Merges the splits of a prefix by their log-sum-exp."""

from __future__ import annotations

import triton
import triton.language as tl

from engine.attention.kernels.splits import split_span


@triton.jit(do_not_specialize=["rows", "table_row", "splits"])
def combine_splits(
    pieces,
    weight,
    table,
    out,
    out_row,
    rows,
    table_row,
    splits,
    head_dim: tl.constexpr,
    block_dim: tl.constexpr,
    block_keys: tl.constexpr,
    split: tl.constexpr,
    max_splits: tl.constexpr,
    block_splits: tl.constexpr,
):
    """Grid (batch · rows, heads); tensors as in `window_attention`, which has written the rows of one split itself."""
    row, head = tl.program_id(0), tl.program_id(1)
    prefix = tl.load(table + row // rows * table_row)
    parts = tl.cdiv(prefix, split_span(prefix, split, max_splits, block_keys))
    if parts <= 1:
        return
    place = (row * tl.num_programs(1) + head).to(tl.int64) * splits
    dim = tl.arange(0, block_dim)
    lane = tl.arange(0, block_splits)
    total = 0.0
    peak = -float("inf")
    mixed = tl.zeros([block_dim], tl.float32)
    for start in range(0, parts, block_splits):
        part = start + lane
        there = part < parts
        share = tl.load(weight + place + part, mask=there, other=-float("inf"))
        higher = tl.maximum(peak, tl.max(share, 0))
        share = tl.exp2(share - higher)
        shrink = tl.exp2(peak - higher)
        inside = there[:, None] & (dim < head_dim)[None, :]
        content = tl.load(pieces + (place + part)[:, None] * head_dim + dim[None, :], mask=inside, other=0.0)
        mixed = mixed * shrink + tl.sum(content * share[:, None], 0)
        total = total * shrink + tl.sum(share, 0)
        peak = higher
    tl.store(out + row * out_row + head * head_dim + dim, (mixed / total).to(out.dtype.element_ty), mask=dim < head_dim)
