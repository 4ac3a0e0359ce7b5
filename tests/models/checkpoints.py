"""Small random checkpoints of every family, written by transformers, and the plain attention to run them with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    Ministral3Config,
    MinistralConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from models.decoder import Decoder

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def _llama(**changes: Any) -> PretrainedConfig:
    return LlamaConfig(**{**SIZES, **changes})


def _scaled(kind: str, **scaling: Any) -> PretrainedConfig:
    return _llama(rope_parameters={"rope_type": kind, "rope_theta": 10_000.0, **scaling})


def _ministral3(**changes: Any) -> PretrainedConfig:
    scaling = {"factor": 4.0, "original_max_position_embeddings": 64, "mscale": 1.0, "mscale_all_dim": 1.0}
    rope = {"rope_type": "yarn", "rope_theta": 1e6, "llama_4_scaling_beta": 0.1, **scaling}
    return Ministral3Config(**SIZES, head_dim=16, rope_parameters=rope, **changes)


FAMILIES: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": _llama,
    "llama tied": lambda: _llama(tie_word_embeddings=True),
    "llama with biases": lambda: _llama(attention_bias=True, mlp_bias=True),
    "llama with own head_dim": lambda: _llama(head_dim=24),
    "one query head per kv head": lambda: _llama(num_key_value_heads=6),
    "six query heads per kv head": lambda: _llama(num_key_value_heads=1),
    "rope linear": lambda: _scaled("linear", factor=2.5),
    "rope llama3": lambda: _scaled(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
    ),
    "rope yarn": lambda: _scaled("yarn", factor=4.0, original_max_position_embeddings=64),
    "rope yarn with every option": lambda: _scaled(
        "yarn",
        factor=4.0,
        original_max_position_embeddings=64,
        beta_fast=16.0,
        beta_slow=2.0,
        mscale=1.2,
        mscale_all_dim=0.8,
        truncate=False,
    ),
    "rope yarn with attention_factor": lambda: _scaled(
        "yarn", factor=4.0, original_max_position_embeddings=64, attention_factor=0.9
    ),
    "mistral": lambda: MistralConfig(**SIZES, sliding_window=None),
    "mistral with a sliding window": lambda: MistralConfig(**SIZES, sliding_window=128),
    "ministral": lambda: MinistralConfig(**SIZES, head_dim=8, sliding_window=256),
    "ministral with a sliding window": lambda: MinistralConfig(**SIZES, head_dim=8, sliding_window=128),
    "ministral3": _ministral3,
    "ministral3 tied": lambda: _ministral3(tie_word_embeddings=True),
    "qwen2": lambda: Qwen2Config(**SIZES),
    "qwen2 tied": lambda: Qwen2Config(**SIZES, tie_word_embeddings=True, rope_theta=1e6),
    "qwen3": lambda: Qwen3Config(**SIZES, head_dim=16),
    "qwen3 tied": lambda: Qwen3Config(**SIZES, head_dim=16, tie_word_embeddings=True),
    "qwen3 with biases": lambda: Qwen3Config(**SIZES, head_dim=16, attention_bias=True),
}


def random_model(config: PretrainedConfig, seed: int = 0) -> PreTrainedModel:
    """Every parameter random, norms and biases too, so that a forgotten one shows."""
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.2)
    return model


def write_checkpoint(folder: Path, family: str = "llama", shard_size: str = "1GB") -> PreTrainedModel:
    model = random_model(FAMILIES[family]())
    model.save_pretrained(folder, max_shard_size=shard_size)
    return model


@torch.inference_mode()
def reference_logits(model: PreTrainedModel, token_ids: Tensor) -> Tensor:
    logits: Tensor = model(token_ids[None]).logits[0]
    return logits


@torch.inference_mode()
def logits(decoder: Decoder, token_ids: Tensor) -> Tensor:
    """Logits [tokens, vocab] of one sequence from position 0."""
    return decoder.logits(decoder(token_ids, torch.arange(len(token_ids)), causal_attention))


def causal_attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One sequence, each token sees itself and what came before."""
    q, k, v = (heads.transpose(0, 1)[None] for heads in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[0].transpose(0, 1)


def change_config(folder: Path, **changes: Any) -> None:
    """Lay `changes` over config.json; a key set to ... is removed."""
    path = folder / "config.json"
    raw = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Rewrite model.safetensors after `change` has had its tensors."""
    path = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
