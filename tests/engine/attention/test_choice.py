"""Which back end an engine gets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from engine.attention.choice import make_attention
from engine.attention.torch_sdpa import TorchAttention
from engine.attention.triton_window import TritonAttention
from engine.cache.storage import KVStorage
from engine.errors import EngineError
from tests.engine.drive import make_engine
from tests.engine.tiny import tiny_config

CPU = torch.device("cpu")


def storage(dtype: torch.dtype = torch.float32) -> KVStorage:
    return KVStorage(tiny_config(), 2, 4, 8, dtype, CPU)


def test_auto_is_torch_on_a_cpu(learned: Path) -> None:
    assert isinstance(make_attention("auto", storage()), TorchAttention)
    assert isinstance(make_engine(learned).runner.attention, TorchAttention)


def test_each_is_had_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert isinstance(make_attention("torch", storage()), TorchAttention)
    assert isinstance(make_attention("triton", storage()), TritonAttention)


def test_without_a_gpu_triton_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(EngineError, match="triton needs a CUDA device; use --attention-backend torch"):
        make_attention("triton", storage())


def test_triton_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert isinstance(make_attention("auto", storage()), TorchAttention)
    with pytest.raises(EngineError, match="pip install"):
        make_attention("triton", storage())


def test_float64_is_left_to_torch() -> None:
    with pytest.raises(EngineError, match="float64"):
        make_attention("triton", storage(torch.float64))
