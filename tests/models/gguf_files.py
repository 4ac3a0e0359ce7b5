"""GGUF files of the small random checkpoints, written with the gguf package as the usual converters write them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from gguf import GGUFWriter
from gguf.constants import GGMLQuantizationType
from gguf.quants import quantize
from transformers import PreTrainedModel

from models.gguf.weights import LAYER, TOP

OURS = {ours: theirs for theirs, ours in TOP.items()}
LAYERS = {ours: theirs for theirs, ours in LAYER.items()}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    kind: str = "F32",
    metadata: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray[Any, Any]] | None = None,
) -> Path:
    """`kind` is that of the matrices; `metadata` is laid over the usual entries, None removing one."""
    config = model.config
    arch = {"llama": "llama", "mistral": "llama"}.get(config.model_type, config.model_type)
    writer = GGUFWriter(str(path), arch)
    for key, value in {**entries(model, arch), **(metadata or {})}.items():
        add(writer, key, value)
    for name, array in {**arrays(model, arch), **(tensors or {})}.items():
        blocks = kind if array.ndim == 2 else "F32"
        if blocks == "F32":
            writer.add_tensor(name, array)
        else:
            dtype = GGMLQuantizationType[blocks]
            writer.add_tensor(name, quantize(array, dtype), raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add(writer: GGUFWriter, key: str, value: Any) -> None:
    match value:
        case None:
            pass
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def entries(model: PreTrainedModel, arch: str) -> dict[str, Any]:
    config = model.config
    rope = config.rope_parameters or {}
    return {
        f"{arch}.block_count": config.num_hidden_layers,
        f"{arch}.context_length": config.max_position_embeddings,
        f"{arch}.embedding_length": config.hidden_size,
        f"{arch}.feed_forward_length": config.intermediate_size,
        f"{arch}.attention.head_count": config.num_attention_heads,
        f"{arch}.attention.head_count_kv": config.num_key_value_heads,
        f"{arch}.attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        f"{arch}.attention.key_length": head_dim(model),
        f"{arch}.attention.value_length": head_dim(model),
        f"{arch}.rope.dimension_count": head_dim(model),
        f"{arch}.rope.freq_base": float(rope.get("rope_theta", 10_000.0)),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def arrays(model: PreTrainedModel, arch: str) -> dict[str, np.ndarray[Any, Any]]:
    """Every parameter under GGUF's name; this architecture's q and k with the halves of each head interleaved."""
    found = {}
    for name, parameter in model.named_parameters():
        array = parameter.detach().numpy().astype(np.float32)
        layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if arch == "llama" and re.search(r"[qk]_proj", name):
            array = interleaved(array, head_dim(model))
        found[f"blk.{layer[1]}.{LAYERS[layer[2]]}.{layer[3]}" if layer else OURS[name]] = array
    return found


def interleaved(array: np.ndarray[Any, Any], head_dim: int) -> np.ndarray[Any, Any]:
    """Row i of a head's first half next to row i of its second."""
    rest = array.shape[1:]
    return np.ascontiguousarray(array.reshape(-1, 2, head_dim // 2, *rest).swapaxes(1, 2).reshape(-1, *rest))


def head_dim(model: PreTrainedModel) -> int:
    config = model.config
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def tokenizer_entries(fast: tokenizers.Tokenizer, pre: str, types: dict[int, int], **more: Any) -> dict[str, Any]:
    """What a converter writes of a byte-level tokenizer; `types` are those of tokens that are no normal ones."""
    import json

    state = json.loads(fast.to_str())["model"]
    tokens = sorted(fast.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in state["merges"]]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [token for token, _ in tokens],
        "tokenizer.ggml.token_type": [types.get(index, NORMAL) for index in range(len(tokens))],
        "tokenizer.ggml.merges": merges,
        **more,
    }
