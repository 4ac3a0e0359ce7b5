"""Who sees whom in the doubled sequence [clean S | mask S], and the attention that computes it without waste."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: mask rows handled by one attention call: fewer skip more of the clean keys no row may see, more have less overhead
ROWS_PER_CALL = 128


@dataclass(frozen=True)
class BlockLayout:
    """How positions 0..length-1 are cut into blocks of `draft_length`; the first is `offset` long if that is not 0."""

    length: int
    draft_length: int
    offset: int = 0

    def starts(self) -> Tensor:
        """int64 [length]: for each position, the first position of its block."""
        positions = torch.arange(self.length)
        shifted = positions - self.offset
        starts = positions - shifted.remainder(self.draft_length)
        return starts.clamp(min=0)

    def depths(self) -> Tensor:
        """int64 [length]: which mask of its block a position is, counted in full blocks, so 0..draft_length-1."""
        return (torch.arange(self.length) - self.offset).remainder(self.draft_length)


def doubled_mask(layout: BlockLayout) -> Tensor:
    """bool [2S, 2S], True where a row sees a column; rows and columns are the clean half, then the mask half."""
    positions, starts = torch.arange(layout.length), layout.starts()
    causal = positions[:, None] >= positions[None, :]
    before_block = starts[:, None] > positions[None, :]
    same_block = starts[:, None] == starts[None, :]
    return torch.cat([torch.cat([causal, torch.zeros_like(causal)], 1), torch.cat([before_block, same_block], 1)])


class CausalAttention:
    """Plain causal attention over `batch` sequences of `length` tokens laid end to end."""

    def __init__(self, batch: int, length: int) -> None:
        self.batch, self.length = batch, length

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (self._heads_first(x) for x in (q, k, v))
        return _tokens_first(F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True))

    def _heads_first(self, x: Tensor) -> Tensor:
        heads_first: Tensor = x.unflatten(0, (self.batch, self.length)).transpose(1, 2)
        return heads_first


class DoubledAttention:
    """Attention of `batch` doubled sequences: all clean tokens first, then all mask tokens, [2 · batch · S] rows.

    The clean half is plain causal attention. The mask half goes in runs of whole blocks, each against the clean
    tokens before its last block and its own masks, so about half of the square is never computed.
    """

    def __init__(self, batch: int, layout: BlockLayout, device: torch.device | str = "cpu") -> None:
        self.clean = CausalAttention(batch, layout.length)
        self.half = batch * layout.length
        self.runs = [(first, last, _run_mask(layout, first, last).to(device)) for first, last in _runs(layout)]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        half = self.half
        clean = self.clean(layer, q[:half], k[:half], v[:half])
        seen_k, seen_v = self.clean._heads_first(k[:half]), self.clean._heads_first(v[:half])
        mask_q, mask_k, mask_v = (self.clean._heads_first(x[half:]) for x in (q, k, v))
        outs = []
        for first, last, mask in self.runs:
            keys = torch.cat([seen_k[:, :, :last], mask_k[:, :, first:last]], 2)
            values = torch.cat([seen_v[:, :, :last], mask_v[:, :, first:last]], 2)
            rows = mask_q[:, :, first:last]
            outs.append(F.scaled_dot_product_attention(rows, keys, values, attn_mask=mask, enable_gqa=True))
        return torch.cat([clean, _tokens_first(torch.cat(outs, 2))])


def _tokens_first(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(0, 1)


def _runs(layout: BlockLayout) -> list[tuple[int, int]]:
    """Spans of whole blocks, about ROWS_PER_CALL positions each, that cover the sequence."""
    starts = sorted(set(layout.starts().tolist()))
    spans, first = [], 0
    for start in starts:
        if start - first >= ROWS_PER_CALL:
            spans.append((first, start))
            first = start
    return [*spans, (first, layout.length)]


def _run_mask(layout: BlockLayout, first: int, last: int) -> Tensor:
    """bool [last - first, 2 · last - first]: the mask half's rows first..last-1, without the columns nobody sees."""
    starts = layout.starts()
    rows = starts[first:last, None]
    return torch.cat([rows > torch.arange(last)[None, :], rows == starts[None, first:last]], 1)
