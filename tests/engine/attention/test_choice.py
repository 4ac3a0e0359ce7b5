"""Which back end an engine gets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from engine.attention.choice import uses_triton
from engine.attention.torch_sdpa import TorchAttention
from engine.attention.triton_window import TritonAttention
from engine.errors import EngineError
from tests.engine.drive import make_engine

CPU = torch.device("cpu")


def test_auto_is_torch_on_a_cpu(learned: Path) -> None:
    engine = make_engine(learned, device="cpu", dtype="float32")
    assert isinstance(engine.runner.attention, TorchAttention)
    assert not engine.sampler.triton


def test_triton_is_had_by_its_name(learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    engine = make_engine(learned, device="cpu", dtype="float32", attention_backend="triton", decoding="ar")
    assert isinstance(engine.runner.attention, TritonAttention)
    assert engine.sampler.triton


def test_without_a_gpu_triton_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(EngineError, match="triton needs a CUDA device; use --attention-backend torch"):
        uses_triton("triton", CPU, torch.float32)


def test_triton_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert not uses_triton("auto", torch.device("cuda"), torch.bfloat16)
    with pytest.raises(EngineError, match="pip install"):
        uses_triton("triton", CPU, torch.float32)


def test_float64_is_left_to_torch() -> None:
    assert not uses_triton("auto", torch.device("cuda"), torch.float64)
    with pytest.raises(EngineError, match="float64"):
        uses_triton("triton", CPU, torch.float64)
