"""How much memory serving a model takes on a CPU, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.attention.choice import choose_kernels
from engine.cache.storage import KVStorage
from engine.config import EngineConfig
from engine.dtypes import cache_dtype
from engine.memory import kv_cache_budget
from models.config import ModelConfig


@dataclass(frozen=True)
class Footprint:
    """Bytes by purpose. `pool` is the KV cache that the settings give, `context` what one full context takes of it.

    `tables` are the rotary embedding's; `weights` count a tied embedding twice, as it is laid out for inference.
    `served_context` is how many tokens of context the pool allows, where the settings ask for no length.
    """

    weights: int
    tables: int
    kv_per_token: int
    context: int
    pool: int
    served_context: int

    @property
    def total(self) -> int:
        return self.weights + self.tables + max(self.pool, self.context)


def footprint(config: EngineConfig, model: ModelConfig, parameters: int, dtype: torch.dtype) -> Footprint:
    """What `model`, with so many parameters as `dtype`, needs under these settings."""
    tokens = config.max_model_len or model.max_position_embeddings
    cpu = torch.device("cpu")
    kept = cache_dtype(config, dtype, choose_kernels(config.attention_backend, cpu, dtype))
    page = KVStorage.bytes_per_page(model, config.page_size, kept)
    pages_per_context = -(-tokens // config.page_size)
    pages = config.num_pages
    if pages is None:
        budget = kv_cache_budget(config, model, kept, cpu)
        pages = min(config.max_num_seqs * pages_per_context, budget // page)
    embedding = model.vocab_size * model.hidden_size if model.tie_embeddings else 0
    return Footprint(
        weights=(parameters + embedding) * dtype.itemsize,
        tables=2 * model.max_position_embeddings * model.head_dim * dtype.itemsize,
        kv_per_token=KVStorage.bytes_per_page(model, 1, kept),
        context=pages_per_context * page,
        pool=pages * page,
        served_context=min(tokens, pages * config.page_size),
    )
