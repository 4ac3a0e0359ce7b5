"""Attention of the two passes over some sequences: the frozen model's own, which is kept, and the masks' on top."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Recorder:
    """Causal attention over sequences of `lengths` tokens laid end to end; keeps every layer's keys and values."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths
        #: per layer and sequence, (k, v), each [1, kv_heads, tokens, head_dim]
        self.kept: list[list[tuple[Tensor, Tensor]]] = []

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = ([_heads_first(part) for part in x.split(self.lengths)] for x in (k, v))
        self.kept.append(list(zip(keys, values, strict=True)))
        outs = []
        for rows, key, value in zip(q.split(self.lengths), keys, values, strict=True):
            out = F.scaled_dot_product_attention(_heads_first(rows), key, value, is_causal=True, enable_gqa=True)
            outs.append(_tokens_first(out))
        return torch.cat(outs)


class OnRecorded:
    """Attention of mask blocks: each sees the recorded tokens before its start, and itself in both directions.

    Rows are the sequences' blocks end to end, `draft_length` rows each; starts: per sequence, int64 [blocks].
    """

    def __init__(self, recorder: Recorder, starts: list[Tensor], draft_length: int) -> None:
        self.recorder = recorder
        self.rows = [len(each) * draft_length for each in starts]
        self.masks = [_who_sees_whom(each, draft_length) for each in starts]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        outs = []
        parts = zip(q.split(self.rows), k.split(self.rows), v.split(self.rows), strict=True)
        for index, (rows, own_keys, own_values) in enumerate(parts):
            key, value = self.recorder.kept[layer][index]
            mask = self.masks[index]
            seen = mask.shape[1] - self.rows[index]
            keys = torch.cat([key[:, :, :seen], _heads_first(own_keys)], 2)
            values = torch.cat([value[:, :, :seen], _heads_first(own_values)], 2)
            out = F.scaled_dot_product_attention(_heads_first(rows), keys, values, attn_mask=mask, enable_gqa=True)
            outs.append(_tokens_first(out))
        return torch.cat(outs)


def _who_sees_whom(starts: Tensor, draft_length: int) -> Tensor:
    """bool [rows, last start + rows]: the recorded tokens that any block sees, then the masks."""
    of_row = starts.repeat_interleave(draft_length)
    block = torch.arange(len(starts), device=starts.device).repeat_interleave(draft_length)
    before = of_row[:, None] > torch.arange(int(starts.max()), device=starts.device)
    return torch.cat([before, block[:, None] == block], 1)


def _heads_first(x: Tensor) -> Tensor:
    return x.transpose(0, 1)[None]


def _tokens_first(x: Tensor) -> Tensor:
    return x[0].transpose(0, 1)
