"""Attention of one row tile over one split of a paged prefix; the first split also takes the window's own rows."""

from __future__ import annotations

import triton
import triton.language as tl

from engine.attention.kernels.splits import split_span
from engine.attention.kernels.store import store_clean_rows


@triton.jit
def accumulate(total, peak, out, scores, values):
    """One block of the online softmax in base 2; scores are -inf where a row does not see a key."""
    higher = tl.maximum(peak, tl.max(scores, 1))
    # a row that has seen no key yet has no peak to subtract
    base = tl.where(higher == -float("inf"), 0.0, higher)
    shrink = tl.exp2(peak - base)
    weights = tl.exp2(scores - base[:, None])
    total = total * shrink + tl.sum(weights, 1)
    out = tl.dot(weights.to(values.dtype), values, out * shrink[:, None], input_precision="ieee")
    return total, higher, out


@triton.jit(do_not_specialize=["rows", "clean", "tiles", "table_row", "splits"])
def window_attention(
    q,
    k,
    v,
    cache,
    table,
    limits,
    out,
    pieces,
    weight,
    scale,
    q_row,
    k_row,
    v_row,
    out_row,
    cache_row,
    rows,
    clean,
    tiles,
    table_row,
    splits,
    ratio: tl.constexpr,
    head_dim: tl.constexpr,
    block_dim: tl.constexpr,
    page_size: tl.constexpr,
    block_rows: tl.constexpr,
    block_keys: tl.constexpr,
    store_rows: tl.constexpr,
    split: tl.constexpr,
    max_splits: tl.constexpr,
    causal: tl.constexpr,
):
    """Grid (tiles · splits, kv_heads, batch); a tile's rows are pairs (window row, query head of the KV head).

    q, k, v, out [batch · rows, heads, head_dim]; cache [slots, 2, kv_heads, head_dim]; table int32 [batch, 1 + pages]:
    a prefix length and its page numbers; limits int32 [3, rows]: row t sees window rows below limits[0, t] and those
    from limits[1, t] to limits[2, t] - 1 (not read where `causal`). A prefix of one split goes to `out`, others to
    pieces float32 [batch · rows, heads, splits, head_dim] with their log2-sum-exp2 in weight [.., splits].
    """
    tile, part = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    head, sequence = tl.program_id(1), tl.program_id(2)
    kv_heads = tl.num_programs(1)
    prefix = tl.load(table + sequence * table_row)
    span = split_span(prefix, split, max_splits, block_keys)
    parts = tl.maximum(tl.cdiv(prefix, span), 1)
    if part >= parts:
        return
    pages = table + sequence * table_row + 1
    packed = tile * block_rows + tl.arange(0, block_rows)
    token = packed // ratio
    query_head = head * ratio + packed % ratio
    live = token < rows
    dim = tl.arange(0, block_dim)
    lane = tl.arange(0, block_keys)
    row = sequence * rows + token
    inside = live[:, None]
    if block_dim > head_dim:
        inside = inside & (dim < head_dim)[None, :]
    query = tl.load(q + row[:, None] * q_row + query_head[:, None] * head_dim + dim[None, :], mask=inside, other=0.0)

    total = tl.zeros([block_rows], tl.float32)
    peak = tl.full([block_rows], -float("inf"), tl.float32)
    mixed = tl.zeros([block_rows, block_dim], tl.float32)

    stop = tl.minimum(part * span + span, prefix)
    cache += head * head_dim
    values_at = kv_heads * head_dim
    for start in range(part * span, stop, block_keys):
        key = start + lane
        seen = key < stop
        page = tl.load(pages + key // page_size, mask=seen, other=0)
        slot = (page.to(tl.int64) * page_size + key % page_size) * cache_row
        k_inside, v_inside = seen[None, :], seen[:, None]
        if block_dim > head_dim:
            k_inside, v_inside = k_inside & (dim < head_dim)[:, None], v_inside & (dim < head_dim)[None, :]
        keys = tl.load(cache + slot[None, :] + dim[:, None], mask=k_inside, other=0.0)
        values = tl.load(cache + slot[:, None] + values_at + dim[None, :], mask=v_inside, other=0.0)
        scores = tl.dot(query, keys, input_precision="ieee") * scale
        total, peak, mixed = accumulate(total, peak, mixed, tl.where(seen[None, :], scores, -float("inf")), values)

    if causal:
        below = tl.where(live, token + 1, 0)
        own_start, own_end = tl.zeros_like(below), tl.zeros_like(below)
    else:
        below = tl.load(limits + token, mask=live, other=0)
        own_start = tl.load(limits + rows + token, mask=live, other=1 << 30)
        own_end = tl.load(limits + 2 * rows + token, mask=live, other=0)
    # the tile's rows see clean rows 0 .. clean_end - 1 and, behind them, mask rows own_first .. own_last - 1
    clean_end, own_first, own_last = tl.max(below, 0), tl.min(own_start, 0), tl.max(own_end, 0)
    clean_blocks = tl.cdiv(clean_end, block_keys)
    blocks = clean_blocks + tl.cdiv(tl.maximum(own_last - own_first, 0), block_keys)
    k += sequence * rows * k_row + head * head_dim
    v += sequence * rows * v_row + head * head_dim
    for block in range(tl.where(part == 0, blocks, 0)):
        behind = block >= clean_blocks
        key = tl.where(behind, own_first + (block - clean_blocks) * block_keys, block * block_keys) + lane
        there = key < tl.where(behind, own_last, clean_end)
        k_inside, v_inside = there[None, :], there[:, None]
        if block_dim > head_dim:
            k_inside, v_inside = k_inside & (dim < head_dim)[:, None], v_inside & (dim < head_dim)[None, :]
        keys = tl.load(k + key[None, :] * k_row + dim[:, None], mask=k_inside, other=0.0)
        values = tl.load(v + key[:, None] * v_row + dim[None, :], mask=v_inside, other=0.0)
        scores = tl.dot(query, keys, input_precision="ieee") * scale
        seen = key[None, :] < below[:, None]
        if not causal:
            seen = seen | ((key[None, :] >= own_start[:, None]) & (key[None, :] < own_end[:, None]))
        scores = tl.where(seen & there[None, :], scores, -float("inf"))
        total, peak, mixed = accumulate(total, peak, mixed, scores, values)

    mixed = mixed / tl.where(total == 0.0, 1.0, total)[:, None]
    if parts == 1:
        at = row[:, None] * out_row + query_head[:, None] * head_dim + dim[None, :]
        tl.store(out + at, mixed.to(out.dtype.element_ty), mask=inside)
    else:
        place = (row * (kv_heads * ratio) + query_head).to(tl.int64) * splits + part
        tl.store(pieces + place[:, None] * head_dim + dim[None, :], mixed, mask=inside)
        tl.store(weight + place, peak + tl.log2(total), mask=live)
    if part == 0:
        first = tile * block_rows // ratio
        end = tl.minimum(clean, (tile * block_rows + block_rows - 1) // ratio + 1)
        store_clean_rows(
            k, v, cache, pages, prefix, first, end, k_row, v_row, cache_row, values_at,
            head_dim, block_dim, page_size, store_rows,
        )  # fmt: skip
