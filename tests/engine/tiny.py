"""Tiny checkpoints with a vocabulary of 64: random ones, and one that has learnt to count and to draft."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoint import save_decoder
from models.config import ModelConfig
from models.decoder import Decoder
from models.drafting import DraftConfig
from models.training.block_mask import BlockLayout
from models.training.objective import ForwardPass, ar_losses, tidar_losses

VOCAB, EOS, MASK, FIRST = 64, 1, 2, 3
CONTEXT = 128


def tiny_config(architecture: str = "Qwen3ForCausalLM", drafts: bool = True) -> ModelConfig:
    """Two layers of width 32; grouped queries; Qwen3 comes tied and with q/k norm, the others untied."""
    qwen3 = architecture == "Qwen3ForCausalLM"
    return ModelConfig(
        architecture=architecture,
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        max_position_embeddings=CONTEXT,
        qkv_bias=architecture == "Qwen2ForCausalLM",
        qk_norm=qwen3,
        tie_embeddings=qwen3,
        eos_token_ids=(EOS,),
        draft=DraftConfig(mask_token_id=MASK, draft_length=4) if drafts else None,
    )


def random_decoder(config: ModelConfig, seed: int = 0, std: float = 0.25) -> Decoder:
    """Random matrices; at std 0.25 the logits spread over a few nats, so tokens differ from context to context."""
    generator = torch.Generator().manual_seed(seed)
    decoder = Decoder(config)
    for parameter in decoder.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=std, generator=generator)
    return decoder


def save_random(folder: Path, architecture: str = "Qwen3ForCausalLM", drafts: bool = True) -> Path:
    save_decoder(random_decoder(tiny_config(architecture, drafts)), folder, torch.float64, {})
    return folder


def save_learned(folder: Path, steps: int = 300) -> Path:
    """Train for a few seconds on counting with slips, so that drafts are often, but not always, right."""
    decoder = random_decoder(tiny_config(), std=0.1)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    generator = torch.Generator().manual_seed(0)
    forward = ForwardPass(decoder, torch.float32)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * min(1.0, (step + 1) / 20) * (1 - step / steps)
        k = (2, 4, 8)[step % 3]
        layout = BlockLayout(24, k, offset=int(torch.randint(0, k, (1,), generator=generator)))
        losses = tidar_losses(forward, counting(12, 25, generator), layout, MASK)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    save_decoder(decoder, folder, torch.float64, {})
    return folder


def save_counting(folder: Path, steps: int = 150) -> Path:
    """A plain AR model that counts, trained for a few seconds."""
    decoder = random_decoder(tiny_config(drafts=False), std=0.1)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    generator = torch.Generator().manual_seed(0)
    forward = ForwardPass(decoder, torch.float32)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * min(1.0, (step + 1) / 20) * (1 - step / steps)
        optimizer.zero_grad()
        ar_losses(forward, counting(12, 25, generator)).total.backward()
        optimizer.step()
    save_decoder(decoder, folder, torch.float64, {})
    return folder


def counting(batch: int, length: int, generator: torch.Generator) -> Tensor:
    """int64 [batch, length]: each token is the one before it plus one; one in 16 slips, one in 50 is EOS."""
    usable = VOCAB - FIRST
    anywhere = torch.randint(0, usable, (batch, length), generator=generator)
    slips = torch.rand(batch, length, generator=generator) < 1 / 16
    columns = [anywhere[:, 0]]
    for i in range(1, length):
        columns.append(torch.where(slips[:, i], anywhere[:, i], (columns[-1] + 1) % usable))
    ends = torch.rand(batch, length, generator=generator) < 1 / 50
    return torch.where(ends, EOS, torch.stack(columns, 1) + FIRST)
