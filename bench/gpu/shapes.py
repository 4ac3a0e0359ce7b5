"""The models that are measured, by shape: random weights serve as well as trained ones where only time counts."""

from __future__ import annotations

import torch
from torch import nn

from models.config import ModelConfig
from models.decoder import Decoder
from models.drafting import DraftConfig

QWEN25_1_5B = ModelConfig(
    architecture="Qwen2ForCausalLM",
    vocab_size=151936,
    hidden_size=1536,
    intermediate_size=8960,
    num_layers=28,
    num_heads=12,
    num_kv_heads=2,
    head_dim=128,
    max_position_embeddings=16384,
    qkv_bias=True,
    tie_embeddings=True,
    draft=DraftConfig(mask_token_id=151665, draft_length=8),
)
QWEN3_8B = ModelConfig(
    architecture="Qwen3ForCausalLM",
    vocab_size=151936,
    hidden_size=4096,
    intermediate_size=12288,
    num_layers=36,
    num_heads=32,
    num_kv_heads=8,
    head_dim=128,
    max_position_embeddings=16384,
    qk_norm=True,
    draft=DraftConfig(mask_token_id=151665, draft_length=8),
)
TINY = ModelConfig(
    architecture="Qwen3ForCausalLM",
    vocab_size=1024,
    hidden_size=32,
    intermediate_size=64,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    max_position_embeddings=1024,
    qk_norm=True,
    tie_embeddings=True,
    draft=DraftConfig(mask_token_id=2, draft_length=4),
)
MODELS = {"Qwen2.5-1.5B": QWEN25_1_5B, "Qwen3-8B": QWEN3_8B, "tiny": TINY}


def random_decoder(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> Decoder:
    """A decoder with normal weights, made on the device."""
    with torch.device("meta"):
        decoder = Decoder(config)
    decoder = decoder.to(dtype).requires_grad_(False).to_empty(device=device)
    decoder.build_tables()
    for name, parameter in decoder.named_parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.ones_(parameter)
    return decoder.eval()
