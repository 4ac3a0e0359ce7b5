"""--kv-cache-dtype: what K and V may be kept in, and what that does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.config import EngineConfig
from engine.dtypes import cache_dtype
from engine.errors import EngineError
from engine.footprint import footprint
from models.config import ModelConfig
from models.inference import Kernels
from tests.engine.drive import make_engine, request, run


@pytest.mark.parametrize(
    ("name", "dtype", "kernels", "kept"),
    [
        ("auto", torch.float32, Kernels.NATIVE, torch.float32),
        ("auto", torch.bfloat16, Kernels.TRITON, torch.bfloat16),
        ("float32", torch.float32, Kernels.TORCH, torch.float32),
        ("float16", torch.float32, Kernels.NATIVE, torch.float16),
        ("half", torch.float32, Kernels.TORCH, torch.float16),
        ("float16", torch.float16, Kernels.TRITON, torch.float16),
    ],
)
def test_what_is_kept(name: str, dtype: torch.dtype, kernels: Kernels, kept: torch.dtype) -> None:
    assert cache_dtype(EngineConfig(model="", kv_cache_dtype=name), dtype, kernels) == kept


@pytest.mark.parametrize(
    ("name", "dtype", "kernels", "said"),
    [
        ("fp8", torch.float32, Kernels.NATIVE, "'fp8' is not known; use one of auto, float32"),
        ("float16", torch.float64, Kernels.NATIVE, "does not go with computing in float64; use auto or float64"),
        ("bfloat16", torch.float32, Kernels.TORCH, "does not go with computing in float32"),
        ("float16", torch.float32, Kernels.TRITON, "does not go with computing in float32"),
    ],
)
def test_what_cannot_be_kept_is_refused(name: str, dtype: torch.dtype, kernels: Kernels, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        cache_dtype(EngineConfig(model="", kv_cache_dtype=name), dtype, kernels)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_float16_holds_twice_the_tokens_and_says_what_it_says_under_every_setting(
    random_llama: Path, backend: str
) -> None:
    settings = {"dtype": "float32", "attention_backend": backend, "kv_cache_memory": 30_000}
    whole = make_engine(random_llama, decoding="ar", **settings)
    halved = make_engine(random_llama, decoding="ar", kv_cache_dtype="float16", **settings)
    assert halved.ready().num_pages == pytest.approx(2 * whole.ready().num_pages, abs=1)
    assert (whole.ready().cache_dtype, halved.ready().cache_dtype) == ("float32", "float16")
    foretold = footprint(
        EngineConfig(model=str(random_llama), kv_cache_dtype="float16", kv_cache_memory=30_000, dtype="float32"),
        ModelConfig.from_folder(random_llama),
        0,
        torch.float32,
    )
    assert foretold.pool == halved.ready().num_pages * halved.ready().page_size * foretold.kv_per_token
    asked = [request(f"r{i}", [3 + i, 5, 7, 11], max_tokens=12) for i in range(6)]
    alone = {submit.request_id: run(halved, [submit])[submit.request_id].token_ids for submit in asked}
    assert {name: done.token_ids for name, done in run(halved, asked).items()} == alone
