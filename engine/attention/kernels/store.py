"""Puts the K/V of one tile's clean rows into the pages; the masks' K/V live only in the step's own tensors."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def store_clean_rows(
    k,
    v,
    cache,
    pages,
    prefix,
    first,
    end,
    k_row,
    v_row,
    cache_row,
    values,
    head_dim: tl.constexpr,
    block_dim: tl.constexpr,
    page_size: tl.constexpr,
    store_rows: tl.constexpr,
):
    """k, v point at row 0 of the window, `cache` at slot 0, all at one KV head; rows first .. end - 1 are stored.

    `pages` points at the sequence's page numbers; `values` is how far V lies behind K in a slot.
    """
    row = first + tl.arange(0, store_rows)
    dim = tl.arange(0, block_dim)
    kept = row < end
    position = prefix + row
    page = tl.load(pages + position // page_size, mask=kept, other=0)
    slot = (page.to(tl.int64) * page_size + position % page_size) * cache_row
    inside = kept[:, None]
    if block_dim > head_dim:
        inside = inside & (dim < head_dim)[None, :]
    keys = tl.load(k + row[:, None] * k_row + dim[None, :], mask=inside)
    tl.store(cache + slot[:, None] + dim[None, :], keys, mask=inside)
    content = tl.load(v + row[:, None] * v_row + dim[None, :], mask=inside)
    tl.store(cache + slot[:, None] + values + dim[None, :], content, mask=inside)
