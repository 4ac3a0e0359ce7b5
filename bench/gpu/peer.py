"""transformers on the same shapes and the same device, one token per forward."""

from __future__ import annotations

from typing import Any

import torch

from bench.gpu.figures import PeerTime
from bench.gpu.timing import Budget, seconds_of
from models.config import ModelConfig


def measure_transformers(
    name: str,
    config: ModelConfig,
    device: torch.device,
    dtype: torch.dtype,
    wanted: list[tuple[int, int]],
    budget: Budget,
) -> list[PeerTime]:
    """Steps at these (batch, context), on random weights and a random cache."""
    model = random_peer(config, device, dtype)
    times = []
    for batch, context in wanted:
        if budget.spent:
            break
        times.append(PeerTime(name, batch, context, _step_seconds(model, config, batch, context, device, dtype)))
    return times


@torch.inference_mode()
def _step_seconds(
    model: Any, config: ModelConfig, batch: int, context: int, device: torch.device, dtype: torch.dtype
) -> float:
    from transformers import DynamicCache

    cache = DynamicCache()
    shape = (batch, config.num_kv_heads, context, config.head_dim)
    for layer in range(config.num_layers):
        k, v = (torch.randn(shape, device=device, dtype=dtype) for _ in range(2))
        cache.update(k, v, layer)
    tokens = torch.full((batch, 1), 3, device=device)
    return seconds_of(lambda: model(input_ids=tokens, past_key_values=cache, use_cache=True).logits.argmax(-1), device)


def random_peer(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> Any:
    """The model of transformers with random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    raw = config.to_dict()
    peer = AutoConfig.for_model(raw.pop("model_type"), **raw)
    with device:
        make: Any = AutoModelForCausalLM
        return make.from_config(peer, dtype=dtype, attn_implementation="sdpa").eval()
