"""How much memory the KV pages may take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engine.config import EngineConfig
from engine.errors import EngineError
from engine.resident.plan import GRAPH_ROWS, graph_keys, uses_graphs
from models.config import ModelConfig

#: for pages on a CPU, where memory is shared with everything else: what one whole context takes, within these bounds
CPU_BYTES, MOST_CPU_BYTES = 256 * 2**20, 2**30

#: assumed of one graph's nodes over all layers, until it is captured
GRAPH_BYTES = 8 * 2**20

KV_FLAG = "--kv-cache-memory-bytes"


def kv_cache_budget(
    config: EngineConfig, model: ModelConfig, dtype: torch.dtype, device: torch.device, forward: int = 0
) -> int:
    """Bytes for KV pages, once the weights are loaded: what the flag says, or on a GPU what its share leaves.

    `config.max_model_len` is the context to be held, where it is known. On a GPU `forward` bytes are kept free for what
    a forward needs beside weights and cache.

    Raises EngineError if nothing is left.
    """
    if config.kv_cache_memory is not None:
        return config.kv_cache_memory
    if device.type != "cuda":
        context = 2 * model.num_layers * model.kv_size * dtype.itemsize * _whole_pages(config)
        return min(max(CPU_BYTES, context), MOST_CPU_BYTES)
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    if uses_graphs(config, device, triton=True):
        forward += graph_bytes(model, dtype, len(graph_keys(config)))
    return left_for_pages(config.gpu_memory_utilization, free, total, forward)


def measures_forward(config: EngineConfig, device: torch.device) -> bool:
    """Whether pages take what a forward leaves, so that it is worth one to know; a split model's is estimated."""
    sized = config.num_pages is not None or config.kv_cache_memory is not None
    return device.type == "cuda" and not sized and config.tensor_parallel_size == 1


def limiting_flag(config: EngineConfig, device: torch.device) -> str:
    """The flag that decides how much memory KV pages take."""
    if config.num_pages is not None:
        return "--num-pages"
    return "--gpu-memory-utilization" if config.kv_cache_memory is None and device.type == "cuda" else KV_FLAG


@contextmanager
def explained(doing: str, remedy: str) -> Iterator[None]:
    """Turns a GPU's running out of memory into an EngineError that names the remedy."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise EngineError(f"The GPU ran out of memory while {doing}; {remedy}.") from None


def left_for_pages(utilization: float, free: int, total: int, forward: int) -> int:
    """`utilization` of the GPU's `total` bytes, less what is taken and what a forward needs. All in bytes."""
    left = int(total * utilization) - (total - free) - forward
    if left <= 0:
        raise EngineError(
            f"No GPU memory is left for KV pages: of {_gib(total)}, {_gib(total - free)} are taken and a forward needs "
            f"{_gib(forward)}; raise --gpu-memory-utilization ({utilization:g}) or lower --max-num-batched-tokens."
        )
    return left


def forward_bytes(config: EngineConfig, model: ModelConfig, dtype: torch.dtype) -> int:
    """Estimate of what the widest step holds at once beside weights and cache, where it cannot be measured: one layer's
    tensors, and logits with their copies."""
    layer = config.max_num_batched_tokens * _layer_width(model) * dtype.itemsize
    return layer + 3 * scored_rows(config) * model.vocab_size * torch.float32.itemsize


def scored_rows(config: EngineConfig) -> int:
    """Rows that choose a token in one step: at most a whole window of each sequence."""
    return min(config.max_num_batched_tokens, config.max_num_seqs * 2 * (config.draft_length or 1))


def graph_bytes(model: ModelConfig, dtype: torch.dtype, graphs: int) -> int:
    """What CUDA graphs hold: the tensors of the largest, which the others share, and each one's own nodes."""
    logits = 2 * GRAPH_ROWS * model.vocab_size * torch.float32.itemsize
    return graphs * GRAPH_BYTES + GRAPH_ROWS * _layer_width(model) * dtype.itemsize + logits


def _whole_pages(config: EngineConfig) -> int:
    """One context in tokens, up to the end of its last page."""
    return -(-(config.max_model_len or 0) // config.page_size) * config.page_size


def _layer_width(model: ModelConfig) -> int:
    """Numbers per row that one layer holds at once."""
    return 4 * model.hidden_size + 2 * (model.query_size + model.kv_size) + 3 * model.intermediate_size


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
