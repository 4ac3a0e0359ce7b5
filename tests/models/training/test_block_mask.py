"""Who may see whom in the doubled sequence, against the rule written out position by position."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.training import block_mask
from models.training.block_mask import BlockLayout, CausalAttention, DoubledAttention, doubled_mask

LAYOUTS = [BlockLayout(16, 4), BlockLayout(17, 4), BlockLayout(24, 8, 3), BlockLayout(9, 2, 1), BlockLayout(5, 8, 6)]


def block_of(layout: BlockLayout, position: int) -> int:
    """Number of the draft block that a position falls in."""
    block, end = 0, layout.offset or layout.draft_length
    while position >= end:
        block, end = block + 1, end + layout.draft_length
    return block


def may_see(layout: BlockLayout, row: int, column: int) -> bool:
    """Clean rows are causal and see no mask; a mask sees the clean tokens before its block, and its block's masks."""
    length = layout.length
    if row < length:
        return column < length and column <= row
    row_block = block_of(layout, row - length)
    if column < length:
        return block_of(layout, column) < row_block
    return block_of(layout, column - length) == row_block


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_mask_is_the_rule_position_by_position(layout: BlockLayout) -> None:
    mask = doubled_mask(layout)
    size = 2 * layout.length
    expected = [[may_see(layout, row, column) for column in range(size)] for row in range(size)]
    assert mask.tolist() == expected


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_starts_and_depths_follow_the_blocks(layout: BlockLayout) -> None:
    starts, depths = layout.starts().tolist(), layout.depths().tolist()
    for position in range(layout.length):
        same = [other for other in range(layout.length) if block_of(layout, other) == block_of(layout, position)]
        assert starts[position] == same[0]
        if starts[position] >= layout.offset:
            assert depths[position] == position - same[0]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("rows_per_call", [1, 6, 128])
def test_the_attention_in_runs_equals_one_call_with_the_whole_mask(
    layout: BlockLayout, rows_per_call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_mask, "ROWS_PER_CALL", rows_per_call)
    batch, length, heads, kv_heads, size = 2, layout.length, 4, 2, 8
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(2 * batch * length, heads, size, dtype=torch.float64, generator=generator)
    k, v = (torch.randn(2 * batch * length, kv_heads, size, dtype=torch.float64, generator=generator) for _ in "kv")
    out = DoubledAttention(batch, layout)(0, q, k, v).unflatten(0, (2, batch, length))
    for sequence in range(batch):
        whole_q, whole_k, whole_v = (
            x.unflatten(0, (2, batch, length))[:, sequence].flatten(0, 1).transpose(0, 1) for x in (q, k, v)
        )
        expected = F.scaled_dot_product_attention(
            whole_q, whole_k, whole_v, attn_mask=doubled_mask(layout), enable_gqa=True
        )
        torch.testing.assert_close(out[:, sequence].flatten(0, 1), expected.transpose(0, 1), rtol=0, atol=1e-12)


def test_sequences_of_a_batch_do_not_see_each_other() -> None:
    generator = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(12, 2, 4, generator=generator) for _ in "qkv")
    before = CausalAttention(2, 6)(0, q, k, v)
    k[6:], v[6:] = 0.0, 1.0
    after = CausalAttention(2, 6)(0, q, k, v)
    assert torch.equal(before[:6], after[:6]) and not torch.equal(before[6:], after[6:])
