"""Random EAGLE-3 heads under their published names, and a plain reading of what such a head computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.config import ModelConfig


def save_eagle(
    folder: Path,
    target: ModelConfig,
    draft_vocab_size: int,
    prefix: str = "midlayer.",
    own_embedding: bool = False,
    dtype: torch.dtype = torch.float64,
    **config: Any,
) -> Path:
    """A head for this target with weights of a fixed seed."""
    generator = torch.Generator().manual_seed(5)
    d, heads, kv, width, ffn = target.hidden_size, 4, 2, 8, 48

    def weight(*shape: int) -> Tensor:
        return (torch.randn(*shape, generator=generator, dtype=torch.float64) * 0.3).to(dtype)

    def norm() -> Tensor:
        return (1 + 0.1 * torch.randn(d, generator=generator, dtype=torch.float64)).to(dtype)

    tensors = {
        "fc.weight": weight(d, 3 * d),
        f"{prefix}input_layernorm.weight": norm(),
        f"{prefix}hidden_norm.weight": norm(),
        f"{prefix}post_attention_layernorm.weight": norm(),
        f"{prefix}self_attn.q_proj.weight": weight(heads * width, 2 * d),
        f"{prefix}self_attn.k_proj.weight": weight(kv * width, 2 * d),
        f"{prefix}self_attn.v_proj.weight": weight(kv * width, 2 * d),
        f"{prefix}self_attn.o_proj.weight": weight(d, heads * width),
        f"{prefix}mlp.gate_proj.weight": weight(ffn, d),
        f"{prefix}mlp.up_proj.weight": weight(ffn, d),
        f"{prefix}mlp.down_proj.weight": weight(d, ffn),
        "norm.weight": norm(),
        "lm_head.weight": weight(draft_vocab_size, d),
    }
    chosen = torch.randperm(target.vocab_size, generator=generator)[:draft_vocab_size].sort().values
    tensors["d2t"] = chosen - torch.arange(draft_vocab_size)
    tensors["t2d"] = torch.zeros(target.vocab_size, dtype=torch.bool).scatter_(0, chosen, True)
    if own_embedding:
        tensors["embed_tokens.weight"] = weight(target.vocab_size, d)
    raw = {
        "architectures": ["LlamaForCausalLMEagle3"],
        "model_type": "llama",
        "hidden_size": d,
        "intermediate_size": ffn,
        "num_hidden_layers": 1,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "head_dim": width,
        "vocab_size": target.vocab_size,
        "draft_vocab_size": draft_vocab_size,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 5000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        **config,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(raw))
    return folder


class PlainHead:
    """The head of one sequence, recomputed from the start for every draft; weights straight from the file."""

    def __init__(self, tensors: dict[str, Tensor], embedding: Tensor, norm_before_residual: bool = False) -> None:
        self.t = {name.removeprefix("midlayer.").removeprefix("layers.0."): t for name, t in tensors.items()}
        self.embedding = tensors.get("embed_tokens.weight", embedding)
        self.norm_before_residual = norm_before_residual

    def outputs(self, tokens: list[int], features: Tensor) -> Tensor:
        """tokens: those after each row's position; features [rows, d]; all rows seen causally, positions from 0."""
        feature = rms(features, self.t["hidden_norm.weight"])
        both = torch.cat([rms(self.embedding[tokens], self.t["input_layernorm.weight"]), feature], -1)
        residual = feature if self.norm_before_residual else features
        x = residual + self.attention(both) @ self.t["self_attn.o_proj.weight"].T
        h = rms(x, self.t["post_attention_layernorm.weight"])
        gate, up = h @ self.t["mlp.gate_proj.weight"].T, h @ self.t["mlp.up_proj.weight"].T
        return x + (gate / (1 + torch.exp(-gate)) * up) @ self.t["mlp.down_proj.weight"].T

    def attention(self, x: Tensor) -> Tensor:
        rows = len(x)
        q, k, v = ((x @ self.t[f"self_attn.{n}_proj.weight"].T).view(rows, -1, 8).transpose(0, 1) for n in "qkv")
        q, k = turned(q), turned(k)
        out = []
        for head in range(len(q)):
            scores = q[head] @ k[head // 2].T / 8**0.5
            scores = scores.masked_fill(torch.ones(rows, rows).triu(1).bool(), float("-inf"))
            out.append(torch.softmax(scores, -1) @ v[head // 2])
        return torch.cat(out, -1)

    def fused(self, hidden: list[Tensor]) -> Tensor:
        return torch.cat(hidden, -1) @ self.t["fc.weight"].T

    def drafts(self, tokens: list[int], hidden: list[Tensor], count: int) -> list[int]:
        """Greedy drafts after `tokens`, of whose last no hidden state is known; hidden: three of [tokens - 1, d]."""
        features, said = self.fused(hidden), list(tokens)
        for _ in range(count):
            outputs = self.outputs(said[1:], features)
            scores = rms(outputs[-1], self.t["norm.weight"]) @ self.t["lm_head.weight"].T
            draft = int(scores.argmax())
            said.append(draft + int(self.t["d2t"][draft]))
            features = torch.cat([features, outputs[-1:]])
        return said[len(tokens) :]


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * weight


def turned(x: Tensor, theta: float = 5000.0) -> Tensor:
    """Rotary embedding of [heads, rows, 8], row = position: pairs (i, i + 4) are rotated as complex numbers."""
    rows = torch.arange(x.shape[1], dtype=x.dtype)
    angle = rows[:, None] * theta ** (-torch.arange(0, 8, 2, dtype=x.dtype) / 8)
    a, b = x[..., :4], x[..., 4:]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)
