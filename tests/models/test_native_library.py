"""C kernels are compiled once, and a compiler that fails is said, not suffered."""

from __future__ import annotations

import os
import platform
import shutil
import stat
from pathlib import Path

import pytest
import torch

import models.native
from engine.attention.native_window import SOURCES
from models.native.library import LEVELS, compiler, library, prebuild

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIDAR_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "native"


def sources(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "kernels"
    folder.mkdir(exist_ok=True)
    (folder / "kernel.c").write_text(text)
    return folder


def test_a_library_is_compiled_once_for_its_sources(tmp_path: Path, empty_cache: Path) -> None:
    folder = sources(tmp_path, "int answer(void) { return sizeof(REAL); }")
    first = library(folder, torch.float32)
    assert first is not None and first.answer() == 4
    (made,) = empty_cache.iterdir()
    written = made.stat().st_mtime_ns
    library.cache_clear()
    again = library(folder, torch.float32)
    assert again is not None and made.stat().st_mtime_ns == written
    double = library(folder, torch.float64)
    assert double is not None and double.answer() == 8
    assert len(list(empty_cache.iterdir())) == 2


def test_changed_sources_are_compiled_anew(tmp_path: Path, empty_cache: Path) -> None:
    for answer in (1, 2):
        library.cache_clear()
        loaded = library(sources(tmp_path, f"int answer(void) {{ return {answer}; }}"), torch.float32)
        assert loaded is not None and loaded.answer() == answer


def test_what_does_not_compile_is_logged_in_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert library(sources(tmp_path, "int answer(void) { return nothing; }"), torch.float32) is None
    (record,) = caplog.records
    assert record.getMessage().startswith("No C kernels from kernels, torch computes: the C compiler failed: ")
    assert "\n" not in record.getMessage()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("TIDAR_HOME", str(file))
    loaded = library(sources(tmp_path, "int answer(void) { return 3; }"), torch.float32)
    assert loaded is not None and loaded.answer() == 3


def test_a_compiler_without_openmp_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = tmp_path / "cc"
    wrapper.write_text(f'#!/bin/sh\ncase " $* " in *" -fopenmp "*) exit 1;; esac\nexec {compiler()} "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CC", os.fspath(wrapper))
    loaded = library(sources(tmp_path, "int answer(void) { return 4; }"), torch.float32)
    assert loaded is not None and loaded.answer() == 4


def test_clang_brings_no_threads_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper, seen = tmp_path / "cc", tmp_path / "seen"
    wrapper.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "Apple clang version 17.0.0"; exit; fi\n'
        f'echo "$*" >> {seen}\nexec {compiler()} "$@"\n'
    )
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CC", os.fspath(wrapper))
    loaded = library(sources(tmp_path, "int answer(void) { return 6; }"), torch.float32)
    assert loaded is not None and loaded.answer() == 6
    assert "-march" in seen.read_text() and "-fopenmp" not in seen.read_text()


@pytest.mark.skipif(shutil.which("clang") is None, reason="there is no clang")
@pytest.mark.parametrize("folder", [Path(models.native.__file__).parent, SOURCES], ids=["layers", "attention"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clang_compiles_the_kernels(dtype: torch.dtype, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.native.library.PREBUILT", Path("none"))
    monkeypatch.setenv("CC", "clang")
    library.cache_clear()
    assert library(folder, dtype) is not None
    library.cache_clear()


def test_what_came_with_the_installation_needs_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.native.library.PREBUILT", tmp_path / "prebuilt")
    folder = sources(tmp_path, "int answer(void) { return 5; }")
    assert len(prebuild(folder)) == 2 * len(LEVELS)
    monkeypatch.setattr("models.native.library.compiler", lambda: None)
    loaded = library(folder, torch.float32)
    if platform.machine() == "x86_64":
        assert loaded is not None and loaded.answer() == 5
