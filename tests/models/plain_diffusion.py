"""LLaDA and Dream as their papers and published files describe them, in plain torch: no caching, no fused weights."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor


def llada_logits(folder: Path, token_ids: Tensor, heads: int, theta: float, eps: float) -> Tensor:
    """Logits [tokens, vocab] of a forward in which every token sees every other."""
    w = load_file(folder / "model.safetensors")
    x = w["model.transformer.wte.weight"][token_ids]
    layer = 0
    while (block := f"model.transformer.blocks.{layer}.") + "q_proj.weight" in w:
        normed = _norm(x, w[block + "attn_norm.weight"], eps)
        q, k, v = (_heads(normed @ w[f"{block}{n}_proj.weight"].T, heads) for n in "qkv")
        x = x + _attend(_rotated(q, theta), _rotated(k, theta), v) @ w[block + "attn_out.weight"].T
        normed = _norm(x, w[block + "ff_norm.weight"], eps)
        gated = torch.nn.functional.silu(normed @ w[block + "ff_proj.weight"].T) * (
            normed @ w[block + "up_proj.weight"].T
        )
        x = x + gated @ w[block + "ff_out.weight"].T
        layer += 1
    assert layer
    return _norm(x, w["model.transformer.ln_f.weight"], eps) @ w["model.transformer.ff_out.weight"].T


def dream_logits(folder: Path, token_ids: Tensor, heads: int, theta: float, eps: float) -> Tensor:
    """As `llada_logits`; grouped keys and values, biases on q, k and v, Qwen2's names."""
    w = load_file(folder / "model.safetensors")
    x = w["model.embed_tokens.weight"][token_ids]
    layer = 0
    while (at := f"model.layers.{layer}.") + "self_attn.q_proj.weight" in w:
        normed = _norm(x, w[at + "input_layernorm.weight"], eps)
        projected = (normed @ w[f"{at}self_attn.{n}_proj.weight"].T + w[f"{at}self_attn.{n}_proj.bias"] for n in "qkv")
        q, k, v = (part.unflatten(-1, (-1, x.shape[-1] // heads)) for part in projected)
        k, v = (part.repeat_interleave(heads // part.shape[1], 1) for part in (k, v))
        x = x + _attend(_rotated(q, theta), _rotated(k, theta), v) @ w[at + "self_attn.o_proj.weight"].T
        normed = _norm(x, w[at + "post_attention_layernorm.weight"], eps)
        gate, up = (normed @ w[f"{at}mlp.{n}_proj.weight"].T for n in ("gate", "up"))
        x = x + (torch.nn.functional.silu(gate) * up) @ w[at + "mlp.down_proj.weight"].T
        layer += 1
    assert layer
    return _norm(x, w["model.norm.weight"], eps) @ w["lm_head.weight"].T


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1))


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v).flatten(1)


def _rotated(x: Tensor, theta: float) -> Tensor:
    """x [tokens, heads, size]: dimension i and i + size/2 turn together by position / theta^(2i/size)."""
    half = x.shape[-1] // 2
    angles = torch.outer(torch.arange(len(x)).double(), theta ** (-torch.arange(half).double() / half))
    turns = torch.polar(torch.ones_like(angles), angles)[:, None]
    turned = torch.complex(x[..., :half].double(), x[..., half:].double()) * turns
    return torch.cat([turned.real, turned.imag], -1).float()
