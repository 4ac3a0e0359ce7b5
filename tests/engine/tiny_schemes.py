"""Tiny checkpoints that have learnt to count and to draft as SDLM, I-DLM or Nemotron's self-speculation do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from models.checkpoint import save_decoder
from models.drafting import DraftConfig
from models.training.block_mask import BlockLayout, doubled_mask
from tests.engine.tiny import MASK, counting, random_decoder, tiny_config

LENGTH = 24


@dataclass(frozen=True)
class Scheme:
    """How a block is seen in training: behind a copy of its first token or all masks, causal or in both directions."""

    name: str
    shift: int
    copies: bool
    causal: bool = False


SCHEMES = {
    "sdlm": Scheme("sdlm", shift=1, copies=True),
    "linear": Scheme("linear", shift=0, copies=True),
    "idlm": Scheme("idlm", shift=1, copies=False, causal=True),
}


@dataclass(frozen=True)
class Masked:
    """Attention of equal texts laid end to end, all under one mask bool [rows, rows]."""

    mask: Tensor

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.unflatten(0, (-1, len(self.mask))).transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, enable_gqa=True)
        return out.transpose(1, 2).flatten(0, 1)


def save_learned_scheme(folder: Path, name: str, steps: int = 240) -> Path:
    """Train for a few seconds, so that drafts are often, but not always, right; k is 4 where nothing else is said."""
    scheme = SCHEMES[name]
    config = replace(tiny_config(), draft=DraftConfig(MASK, 4, scheme.name, scheme.shift))
    decoder = random_decoder(config, std=0.1)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * min(1.0, (step + 1) / 20) * (1 - step / steps)
        k = (2, 4, 8)[step % 3]
        layout = BlockLayout(LENGTH, k, offset=int(torch.randint(0, k, (1,), generator=generator)))
        text = counting(12, LENGTH + 1, generator)
        loss = _loss(decoder, text, layout, scheme)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_decoder(decoder, folder, torch.float64, {})
    return folder


def _loss(decoder: torch.nn.Module, text: Tensor, layout: BlockLayout, scheme: Scheme) -> Tensor:
    """Mean of the cross-entropies of clean rows and of block rows, on texts int64 [batch, LENGTH + 1]."""
    positions, starts = torch.arange(LENGTH), layout.starts()
    mask = doubled_mask(layout)
    if scheme.causal:
        mask[LENGTH:, LENGTH:] &= positions[:, None] >= positions[None, :]
    inputs, nexts = text[:, :-1], text[:, 1:]
    blocks = torch.full_like(inputs, MASK)
    if scheme.copies:
        blocks = torch.where(positions == starts, inputs, blocks)
    tokens = torch.cat([inputs, blocks], 1).flatten()
    hidden = decoder(tokens, positions.repeat(2 * len(text)), Masked(mask))
    clean, drafts = decoder.logits(hidden).unflatten(0, (-1, 2, LENGTH)).unbind(1)
    if scheme.shift:
        wanted, counts = nexts, torch.ones(LENGTH, dtype=torch.bool)
    else:
        wanted, counts = inputs, positions != starts
    ar = F.cross_entropy(clean.flatten(0, 1), nexts.flatten())
    return ar + F.cross_entropy(drafts[:, counts].flatten(0, 1), wanted[:, counts].flatten())
