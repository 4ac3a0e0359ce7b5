"""A model folder for serving tests: random weights behind the shipped tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import tokenizers
import torch
from torch import nn

from models.checkpoint import save_decoder
from models.config import ModelConfig
from models.decoder import Decoder
from models.drafting import DraftConfig

SHIPPED = Path(__file__).parents[2] / "models" / "shipped" / "tidar-python-5m"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")

#: <|endoftext|> and <|im_end|> of the shipped tokenizer, and its <|mask|>
EOS_TOKENS, MASK = (0, 3), 1
CONTEXT, VOCAB, DRAFT_LENGTH = 256, 1024, 4


def save_tiny_model(folder: Path, more_tokens: Sequence[str] = (), context: int = CONTEXT) -> Path:
    """Two layers of width 32. At temperature 100 the shared noise decides, so nearly every draft is accepted.

    `more_tokens` are special tokens that follow the shipped vocabulary.
    """
    config = ModelConfig(
        architecture="Qwen3ForCausalLM",
        vocab_size=VOCAB + len(more_tokens),
        hidden_size=32,
        intermediate_size=64,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        max_position_embeddings=context,
        qk_norm=True,
        tie_embeddings=True,
        eos_token_ids=EOS_TOKENS,
        draft=DraftConfig(mask_token_id=MASK, draft_length=DRAFT_LENGTH),
    )
    generator = torch.Generator().manual_seed(0)
    decoder = Decoder(config)
    for parameter in decoder.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.25, generator=generator)
    save_decoder(decoder, folder, torch.float64, {})
    for name in TOKENIZER_FILES:
        shutil.copy(SHIPPED / name, folder)
    if more_tokens:
        path = str(folder / "tokenizer.json")
        longer = tokenizers.Tokenizer.from_file(path)
        longer.add_special_tokens(list(more_tokens))
        longer.save(path)
    return folder
