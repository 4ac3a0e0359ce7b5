"""Small checkpoints under the key and tensor names of families that transformers does not know.

Each is a transformers model of the same arithmetic whose config.json and tensors are rewritten, so that model's logits
are what to expect. The names are those of the published repositories.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, Ministral3Config, PretrainedConfig, PreTrainedModel, Qwen2Config, Qwen3Config

from tests.models.checkpoints import SIZES, random_model

#: yarn as Nemotron-Labs-Diffusion and Ministral 3 have it, with an original context that the tests run past
YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}

LLADA_NAMES = {
    "model.embed_tokens.": "model.transformer.wte.",
    "model.norm.": "model.transformer.ln_f.",
    "lm_head.": "model.transformer.ff_out.",
    "model.layers.": "model.transformer.blocks.",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ff_norm",
    "self_attn.o_proj": "attn_out",
    "self_attn.": "",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
}
NEMOTRON_NAMES = {"model.": "encoder.", "lm_head.": "diffusion_head."}

LLADA_CONFIG: dict[str, Any] = {
    "architectures": ["LLaDAModelLM"],
    "model_type": "llada",
    "activation_type": "silu",
    "alibi": False,
    "attention_layer_norm": False,
    "block_type": "llama",
    "d_model": 48,
    "embedding_size": 97,
    "eos_token_id": 3,
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "mask_token_id": 5,
    "max_sequence_length": 256,
    "mlp_hidden_size": 80,
    "mlp_ratio": 4,
    "multi_query_attention": None,
    "n_heads": 6,
    "n_kv_heads": 6,
    "n_layers": 3,
    "pad_token_id": 3,
    "rms_norm_eps": 1e-5,
    "rope": True,
    "rope_theta": 500000.0,
    "scale_logits": False,
    "vocab_size": 97,
    "weight_tying": False,
    "torch_dtype": "float32",
}


@dataclass(frozen=True)
class Published:
    """A family: its twin in transformers, what its tensors and config.json are called, and how it drafts."""

    twin: Callable[[], PretrainedConfig]
    names: dict[str, str]
    config: Callable[[dict[str, Any]], dict[str, Any]]
    scheme: str
    shift: int
    mask_token_id: int
    draft_length: int


def _laid_over(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda raw: {**raw, **changes}


def _sdar(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    fixed = {"architectures": ["SDARForCausalLM"], "model_type": "sdar", "fuse_cross_entropy": True}
    return _laid_over(**fixed, mask_token_id=7, **changes)


def _qwen2() -> PretrainedConfig:
    return Qwen2Config(**SIZES, rope_theta=1e6)


def _qwen3() -> PretrainedConfig:
    return Qwen3Config(**SIZES, head_dim=16, rope_theta=1e6)


PUBLISHED: dict[str, Published] = {
    "Nemotron-Labs-Diffusion": Published(
        twin=lambda: Ministral3Config(**SIZES, head_dim=16, rope_parameters=YARN),
        names=NEMOTRON_NAMES,
        config=_laid_over(
            architectures=["NemotronLabsDiffusionModel"],
            model_type="nemotron_labs_diffusion",
            mask_token_id=96,
            block_size=32,
            dlm_paradigm="bidirectional",
            attention_bias=False,
            mlp_bias=False,
        ),
        scheme="linear",
        shift=0,
        mask_token_id=96,
        draft_length=32,
    ),
    "Efficient-DLM": Published(
        twin=_qwen3,
        names=NEMOTRON_NAMES,
        config=_laid_over(
            architectures=["DiffEncoderModel"], model_type="diff_encoder", mask_token_id=90, block_size=32
        ),
        scheme="prompt-block",
        shift=0,
        mask_token_id=90,
        draft_length=32,
    ),
    "SDLM": Published(
        twin=_qwen2,
        names={},
        config=_laid_over(block_size=4, text_mask_token_id=9, causal_attn=False),
        scheme="sdlm",
        shift=1,
        mask_token_id=9,
        draft_length=4,
    ),
    "SDAR": Published(
        twin=_qwen3,
        names={},
        config=_sdar(block_size=4),
        scheme="block",
        shift=0,
        mask_token_id=7,
        draft_length=4,
    ),
    "I-DLM": Published(
        twin=_qwen3,
        names={},
        config=_sdar(block_size=3, use_regular_causal=True),
        scheme="idlm",
        shift=1,
        mask_token_id=7,
        draft_length=4,
    ),
    "Dream": Published(
        twin=_qwen2,
        names={},
        config=_laid_over(architectures=["DreamModel"], model_type="Dream", mask_token_id=11, use_sliding_window=False),
        scheme="denoise",
        shift=1,
        mask_token_id=11,
        draft_length=32,
    ),
    "LLaDA": Published(
        twin=lambda: LlamaConfig(**{**SIZES, "num_key_value_heads": 6}, rope_theta=500000.0, rms_norm_eps=1e-5),
        names=LLADA_NAMES,
        config=lambda raw: LLADA_CONFIG,
        scheme="denoise",
        shift=0,
        mask_token_id=5,
        draft_length=32,
    ),
}


def write_published(folder: Path, name: str) -> PreTrainedModel:
    """Write the checkpoint; returns its twin, with the same weights."""
    family = PUBLISHED[name]
    model = random_model(family.twin())
    model.save_pretrained(folder)
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(family.config(raw)))
    weights = folder / "model.safetensors"
    tensors = {_renamed(tensor, family.names): value.clone() for tensor, value in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    return model


def _renamed(name: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        name = name.replace(ours, theirs, 1)
    return name
