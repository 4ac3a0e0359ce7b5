"""What is said of memory beforehand is what the engine then takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.cache.storage import KVStorage
from engine.config import EngineConfig
from engine.footprint import footprint
from models.checkpoint import load_decoder
from tests.engine.drive import make_engine


@pytest.mark.parametrize(
    "settings", [{}, {"max_num_seqs": 3, "page_size": 5}, {"max_model_len": 50}, {"kv_cache_memory": 200_000}]
)
@pytest.mark.parametrize("checkpoint", ["random_qwen3", "random_llama"])
def test_the_pool_and_the_weights_are_as_large_as_foretold(
    checkpoint: str, settings: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(checkpoint)
    decoder = load_decoder(folder, torch.float64)
    engine = make_engine(folder, decoding="ar", **settings)
    parameters = sum(p.numel() for p in decoder.parameters())
    needs = footprint(EngineConfig(model=str(folder), **settings), decoder.config, parameters, torch.float64)
    ready = engine.ready()
    assert needs.pool == ready.num_pages * KVStorage.bytes_per_page(decoder.config, ready.page_size, torch.float64)
    tied = decoder.embed.weight.numel() * 8 if decoder.config.tie_embeddings else 0
    assert needs.weights == ready.weight_bytes + tied
    assert needs.tables == decoder.cos.nbytes + decoder.sin.nbytes
    assert needs.served_context == ready.max_model_len


def test_a_context_longer_than_the_pool_is_cut_as_the_engine_cuts_it(random_llama: Path) -> None:
    model = load_decoder(random_llama, torch.float64).config
    settings = {"kv_cache_memory": 40_000}
    needs = footprint(EngineConfig(model=str(random_llama), **settings), model, 0, torch.float64)
    assert needs.served_context == make_engine(random_llama, decoding="ar", **settings).ready().max_model_len < 128
    assert needs.context > needs.pool
