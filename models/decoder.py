"""The decoder of the Llama family on a flat batch of tokens; attention is handed in by whoever calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import ModelConfig
from models.linear import Linear
from models.rope import rotate


class Attention(Protocol):
    """Who sees whom: the engine brings paged windows, training brings its block mask."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [tokens, heads, head_dim], k and v [tokens, kv_heads, head_dim], rotated; returns the shape of q."""
        ...


class Tap(Protocol):
    """Looks at hidden states on their way through the layers."""

    def __call__(self, layer: int, hidden: Tensor) -> None:
        """hidden [tokens, hidden_size] as this layer left it; the next one may overwrite it."""
        ...


class RMSNorm(nn.Module):
    """x / rms(x) · weight (arXiv 1910.07467) over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Layer(nn.Module):
    """One pre-norm transformer layer: attention, then SwiGLU, each added to the residual stream."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.num_heads, self.num_kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        d, ffn = config.hidden_size, config.intermediate_size
        self.attention_norm: nn.Module = RMSNorm(d, config.rms_norm_eps)
        self.qkv = Linear(d, config.query_size + 2 * config.kv_size, bias=config.qkv_bias)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None
        #: one norm for queries and keys together, where packing has put one
        self.qk_norm: nn.Module | None = None
        self.output = Linear(config.query_size, d, bias=config.output_bias)
        self.mlp_norm: nn.Module = RMSNorm(d, config.rms_norm_eps)
        self.gate_up = Linear(d, 2 * ffn, bias=config.mlp_bias)
        self.down = Linear(ffn, d, bias=config.mlp_bias)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention, wanted: Tensor | None = None
    ) -> Tensor:
        """x [tokens, hidden_size]; returns as many rows, or the `wanted` ones, int64 [rows]."""
        q, k, v = self._qkv(self.attention_norm(x), cos, sin)
        attended = attention(self.index, q, k, v).flatten(-2)
        if wanted is not None:
            x, attended = x.index_select(0, wanted), attended.index_select(0, wanted)
        return self._mlp(self.output(attended, residual=x))

    def _mlp(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        out: Tensor = self.down(F.silu(gate) * up, residual=x)
        return out

    def _qkv(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads = self.qkv(x).unflatten(-1, (self.num_heads + 2 * self.num_kv_heads, self.head_dim))
        rotated = self.num_heads + self.num_kv_heads
        qk = rotate(self._normed(heads[:, :rotated]), cos, sin)
        return qk[:, : self.num_heads], qk[:, self.num_heads :], heads[:, rotated:]

    def _normed(self, qk: Tensor) -> Tensor:
        if self.qk_norm is not None:
            out: Tensor = self.qk_norm(qk)
            return out
        if self.q_norm is None or self.k_norm is None:
            return qk
        q, k = qk.split([self.num_heads, self.num_kv_heads], 1)
        return torch.cat([self.q_norm(q), self.k_norm(k)], 1)


@dataclass(frozen=True)
class _ScaledQueries:
    """Attention whose queries are first multiplied with `scales` [tokens, 1, 1]."""

    attention: Attention
    scales: Tensor

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.attention(layer, q * self.scales, k, v)


class Decoder(nn.Module):
    """Token ids and positions in, hidden states out; logits only for the rows that are asked for."""

    cos: Tensor
    sin: Tensor
    query_scales: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.num_layers))
        self.norm: nn.Module = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head: nn.Module | None = None if config.tie_embeddings else Linear(config.hidden_size, config.vocab_size)
        tables = (config.max_position_embeddings, 1, config.head_dim)
        self.register_buffer("cos", torch.empty(tables), persistent=False)
        self.register_buffer("sin", torch.empty(tables), persistent=False)
        self.register_buffer("query_scales", None, persistent=False)
        self.build_tables()

    def build_tables(self) -> None:
        """Fill the rotary tables [positions, 1, head_dim], exact in whatever dtype they have now.

        `query_scales` [positions, 1, 1] stays None where queries are not scaled at any position.
        """
        if self.cos.is_meta:
            return
        self.config.rope.fill_tables(self.cos.squeeze(1), self.sin.squeeze(1))
        scales = self.config.rope.query_scales(self.config.max_position_embeddings)
        if scales is not None:
            self.query_scales = scales.to(self.cos)[:, None, None]

    def forward(
        self,
        token_ids: Tensor,
        positions: Tensor,
        attention: Attention,
        tap: Tap | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """token_ids, positions: int64 [tokens]; returns the normed hidden states [tokens, hidden_size].

        Where only some rows are `wanted`, int64 [rows], the last layer's feed-forward part leaves out the others, whose
        hidden states are zeros then.
        """
        x = self.embed(token_ids)
        cos, sin = self.cos.index_select(0, positions), self.sin.index_select(0, positions)
        if self.query_scales is not None:
            attention = _ScaledQueries(attention, self.query_scales.index_select(0, positions))
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            x = layer(x, cos, sin, attention, wanted if index == last else None)
            if tap is not None:
                tap(index, x)
        out: Tensor = self.norm(x)
        if wanted is None:
            return out
        return out.new_zeros(len(token_ids), out.shape[1]).index_copy_(0, wanted, out)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [rows, hidden_size] to logits [rows, vocab_size]."""
        if self.head is None:
            return F.linear(hidden, self.embed.weight)
        out: Tensor = self.head(hidden)
        return out
