"""The widest step runs on any model and back end, and what the allocator says of it is what forwards are left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import engine.rank
from engine.attention.choice import make_attention
from engine.cache.storage import KVStorage
from engine.config import EngineConfig
from engine.widest import peak_bytes, run_widest
from models.inference import Kernels
from tests.engine.drive import make_engine
from tests.engine.tiny import random_decoder, tiny_config

CPU = torch.device("cpu")


@pytest.mark.parametrize(("rows", "context"), [(70, 32), (16, 64), (1, 2)])
def test_it_fills_the_row_budget_with_prompts_that_fit_a_context(rows: int, context: int) -> None:
    config = EngineConfig(model="", max_num_batched_tokens=rows, max_model_len=context, max_num_seqs=2, page_size=4)
    storage = KVStorage(tiny_config(), 1, 4, rows, torch.float32, CPU)
    assert (
        run_widest(random_decoder(tiny_config()), make_attention(Kernels.TORCH, storage), config, triton=False) == rows
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="interpreted")
def test_it_runs_on_the_kernels() -> None:
    config = EngineConfig(model="", max_num_batched_tokens=20, max_model_len=16, max_num_seqs=1, page_size=4)
    storage = KVStorage(tiny_config(), 1, 4, 20, torch.float32, CPU)
    decoder = random_decoder(tiny_config())
    assert run_widest(decoder, make_attention(Kernels.TRITON, storage), config, triton=True) == 20


def test_the_peak_counts_from_what_was_there_before(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: said.append(name))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 1700)
    assert peak_bytes(lambda: said.append("run"), CPU) == 700
    assert said == ["synchronize", "empty_cache", "reset_peak_memory_stats", "run", "synchronize"]


def test_the_engine_keeps_free_what_was_measured(learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(run: Callable[[], object], device: torch.device) -> int:
        assert run() == 48
        return 12345

    # 48 rows, the null page and one more of 16 tokens; 512 bytes a token
    scratch = (48 + 2 * 16) * 512
    monkeypatch.setattr(engine.rank, "measures_forward", lambda config, device: True)
    monkeypatch.setattr(engine.rank, "peak_bytes", peak)
    assert make_engine(learned, max_num_batched_tokens=48).ready().forward_bytes == 12345 + scratch
