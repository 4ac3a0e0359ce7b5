"""What a GGUF file's metadata says of the model, under the names of a config.json."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.gguf.header import Header, end_ids, read_header
from models.gguf.weights import frequency_factors

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
#: config.json's name by the metadata's, below the architecture's own name
WHOLE_NUMBERS = {
    "num_hidden_layers": "block_count",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
}
#: wavelength-dependent scaling of Llama 3.1 and later (Meta's release), which a GGUF keeps as its effect alone
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def config_of(path: Path) -> dict[str, Any]:
    """The config.json that a folder of this model would have. Raises ModelError, one sentence."""
    header = read_header(path)
    read = _Metadata(path, header)
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise ModelError(f"{path} is of architecture {architecture!r}; read are {', '.join(ARCHITECTURES)}.")
    if read.optional("split.count", int, 1) > 1:
        raise ModelError(f"{path} is one part of a split model: merge the parts with llama-gguf-split first.")
    config: dict[str, Any] = {ours: read.needed(f"{architecture}.{theirs}") for ours, theirs in WHOLE_NUMBERS.items()}
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    config |= {
        "architectures": [ARCHITECTURES[architecture]],
        "vocab_size": _vocab_size(path, header),
        "num_key_value_heads": read.optional(f"{architecture}.attention.head_count_kv", int, heads),
        "head_dim": read.optional(f"{architecture}.attention.key_length", int, hidden // max(heads, 1)),
        "rms_norm_eps": read.optional(f"{architecture}.attention.layer_norm_rms_epsilon", float, 1e-6),
        "tie_word_embeddings": "output.weight" not in header.tensors,
        "attention_bias": architecture == "llama" and "blk.0.attn_q.bias" in header.tensors,
        "sliding_window": read.optional(f"{architecture}.attention.sliding_window", int, 0) or None,
        "use_sliding_window": True,
        "bos_token_id": read.optional("tokenizer.ggml.bos_token_id", int, None),
        "eos_token_id": end_ids(header.metadata),
        "dtype": _dtype(header),
    }
    for key in (f"{architecture}.rope.dimension_count", f"{architecture}.attention.value_length"):
        if read.optional(key, int, config["head_dim"]) != config["head_dim"]:
            raise ModelError(f"{path} has {key} {header.metadata[key]} beside heads of {config['head_dim']}.")
    return config | _rope(path, header, read, architecture, config)


class _Metadata:
    """Typed reads that name the file and the entry."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self._metadata = header.metadata

    def needed(self, key: str) -> int:
        value = self._metadata.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
            raise ModelError(f"{self._path} needs a positive whole number for {key}, but has {_shown(value)}.")
        return value

    def optional(self, key: str, kind: type, default: Any) -> Any:
        value = self._metadata.get(key, default)
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
        if key in self._metadata and (not fits or isinstance(value, bool)):
            raise ModelError(f"{self._path} has {_shown(value)} for {key}, which is none that is read.")
        return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:60]}…"


def _vocab_size(path: Path, header: Header) -> int:
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise ModelError(f"{path} holds no embedding token_embd.weight.")
    return embedding.shape[0]


def _dtype(header: Header) -> str:
    """The dtype a GPU runs the model in: the matrices' own; bfloat16, as most models were trained, for blocks."""
    kinds = {info.kind.name for info in header.tensors.values() if info.kind is not None and len(info.shape) > 1}
    return {frozenset({"F32"}): "float32", frozenset({"F16"}): "float16"}.get(frozenset(kinds), "bfloat16")


def _rope(path: Path, header: Header, read: _Metadata, architecture: str, config: dict[str, Any]) -> dict[str, Any]:
    prefix = f"{architecture}.rope."
    theta = read.optional(f"{prefix}freq_base", float, 10_000.0)
    kind = read.optional(f"{prefix}scaling.type", str, "none")
    factors = frequency_factors(path, header)
    if factors is not None:
        return {"rope_theta": theta, "rope_scaling": _llama3(path, factors, theta, config["head_dim"])}
    if kind == "none":
        return {"rope_theta": theta}
    scaling: dict[str, Any] = {"rope_type": kind, "factor": read.optional(f"{prefix}scaling.factor", float, 1.0)}
    original = read.optional(f"{prefix}scaling.original_context_length", int, 0)
    if original:
        scaling["original_max_position_embeddings"] = original
    for ours, theirs in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
        value = read.optional(f"{prefix}scaling.{theirs}", float, None)
        if value is not None:
            scaling[ours] = value
    return {"rope_theta": theta, "rope_scaling": scaling}


def _llama3(path: Path, factors: list[float], theta: float, head_dim: int) -> dict[str, Any]:
    """The scaling whose effect on each frequency the file's rope_freqs.weight is; any other effect is refused."""
    factor = max(factors)
    low, high = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"]
    for index, given in enumerate(factors):
        turns = LLAMA3["original_max_position_embeddings"] * theta ** (-2 * index / head_dim) / (2 * math.pi)
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        expected = 1 / (smooth + (1 - smooth) / factor)
        if not math.isclose(given, expected, rel_tol=1e-3):
            raise ModelError(f"{path} scales rotary frequencies by a rope_freqs.weight that is not Llama 3's.")
    return {"rope_type": "llama3", "factor": factor, **LLAMA3}
