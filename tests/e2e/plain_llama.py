"""A second reader of a Llama GGUF: the gguf package's own reader and dequantisation, and a forward in plain numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, dequantize

Array = np.ndarray[Any, Any]


class PlainLlama:
    """Float32 throughout; queries and keys are rotated pair by pair, in the order in which a GGUF keeps them."""

    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)

        def entry(key: str) -> Any:
            field = reader.get_field(f"llama.{key}")
            assert field is not None, key
            return field.contents()

        self.layers, self.heads = int(entry("block_count")), int(entry("attention.head_count"))
        self.kv_heads, self.theta = int(entry("attention.head_count_kv")), float(entry("rope.freq_base"))
        self.eps = float(entry("attention.layer_norm_rms_epsilon"))
        self.weights = {t.name: dequantize(t.data, t.tensor_type) for t in reader.tensors}

    def logits(self, token_ids: list[int]) -> Array:
        """[tokens, vocabulary] of one sequence."""
        embedding = self.weights["token_embd.weight"]
        x = embedding[token_ids]
        for layer in range(self.layers):
            x = x + self._attention(layer, self._norm(x, f"blk.{layer}.attn_norm"))
            h = self._norm(x, f"blk.{layer}.ffn_norm")
            gate, up = self._times(h, f"blk.{layer}.ffn_gate"), self._times(h, f"blk.{layer}.ffn_up")
            x = x + self._times(gate / (1 + np.exp(-gate)) * up, f"blk.{layer}.ffn_down")
        return np.asarray(self._norm(x, "output_norm") @ self.weights.get("output.weight", embedding).T)

    def _times(self, x: Array, name: str) -> Array:
        return np.asarray(x @ self.weights[f"{name}.weight"].T)

    def _norm(self, x: Array, name: str) -> Array:
        return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.weights[f"{name}.weight"])

    def _attention(self, layer: int, x: Array) -> Array:
        q, k, v = (self._times(x, f"blk.{layer}.attn_{part}").reshape(len(x), -1, self._width(layer)) for part in "qkv")
        k, v = (np.repeat(heads, self.heads // self.kv_heads, 1) for heads in (self._rotated(k), v))
        scores = np.einsum("qhd,khd->hqk", self._rotated(q), k) * self._width(layer) ** -0.5
        scores += np.triu(np.full((len(x), len(x)), -np.inf, np.float32), 1)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v)
        return self._times(mixed.reshape(len(x), -1), f"blk.{layer}.attn_output")

    def _width(self, layer: int) -> int:
        return len(self.weights[f"blk.{layer}.attn_q.weight"]) // self.heads

    def _rotated(self, heads: Array) -> Array:
        tokens, _, width = heads.shape
        turns = np.outer(np.arange(tokens), self.theta ** (-np.arange(0, width, 2) / width))[:, None].astype(np.float32)
        even, odd = heads[..., ::2], heads[..., 1::2]
        pairs = even * np.cos(turns) - odd * np.sin(turns), even * np.sin(turns) + odd * np.cos(turns)
        return np.stack(pairs, -1).reshape(heads.shape)
