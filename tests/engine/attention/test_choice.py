"""Which back end an engine gets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from engine.attention.choice import choose_kernels
from engine.attention.native_window import NativeAttention
from engine.attention.torch_sdpa import TorchAttention
from engine.attention.triton_window import TritonAttention
from engine.errors import EngineError
from models.fusing import FusedLayer
from models.inference import Kernels
from models.native.library import compiler, library
from tests.engine.drive import make_engine

CPU = torch.device("cpu")


@pytest.mark.skipif(compiler() is None, reason="there is no C compiler")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_auto_is_native_on_a_cpu_that_has_a_compiler(learned: Path, dtype: str) -> None:
    engine = make_engine(learned, device="cpu", dtype=dtype)
    assert isinstance(engine.runner.attention, NativeAttention)
    assert isinstance(engine.runner.model.layers[0], FusedLayer)
    assert not engine.sampler.triton


def test_torch_can_be_had_by_its_name(learned: Path) -> None:
    engine = make_engine(learned, device="cpu", dtype="float32", attention_backend="torch")
    assert isinstance(engine.runner.attention, TorchAttention)
    assert not isinstance(engine.runner.model.layers[0], FusedLayer)


def test_without_a_compiler_torch_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TIDAR_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    library.cache_clear()
    try:
        with caplog.at_level("INFO"):
            assert choose_kernels("auto", CPU, torch.float32) is Kernels.TORCH
        assert "torch computes: there is no C compiler (install gcc)" in caplog.text
        with pytest.raises(
            EngineError, match="native needs a C compiler, and float32 or float64; use --attention-backend torch"
        ):
            choose_kernels("native", CPU, torch.float32)
    finally:
        library.cache_clear()


def test_what_c_does_not_know_is_left_to_torch() -> None:
    assert choose_kernels("auto", CPU, torch.bfloat16) is Kernels.TORCH
    with pytest.raises(EngineError, match="is for --device cpu"):
        choose_kernels("native", torch.device("cuda"), torch.float32)


def test_triton_is_had_by_its_name(learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    engine = make_engine(learned, device="cpu", dtype="float32", attention_backend="triton", decoding="ar")
    assert isinstance(engine.runner.attention, TritonAttention)
    assert engine.sampler.triton


def test_without_a_gpu_triton_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(EngineError, match="triton needs a CUDA device; use --attention-backend torch"):
        choose_kernels("triton", CPU, torch.float32)


def test_triton_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert choose_kernels("auto", torch.device("cuda"), torch.bfloat16) is Kernels.TORCH
    with pytest.raises(EngineError, match="pip install"):
        choose_kernels("triton", CPU, torch.float32)


def test_float64_is_left_to_torch() -> None:
    assert choose_kernels("auto", torch.device("cuda"), torch.float64) is Kernels.TORCH
    with pytest.raises(EngineError, match="float64"):
        choose_kernels("triton", CPU, torch.float64)
