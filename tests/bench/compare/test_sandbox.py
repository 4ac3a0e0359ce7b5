"""Programs of a model's making run with limits."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.compare.sandbox import run_program


def test_a_program_that_ends_well_passes() -> None:
    assert run_program("assert 1 + 1 == 2").passed


def test_a_failing_assertion_is_named() -> None:
    assert run_program("assert False").reason == "AssertionError"


def test_an_endless_loop_is_stopped_in_time() -> None:
    started = time.monotonic()
    verdict = run_program("while True: pass", seconds=1.0)
    assert verdict.reason in ("time", "killed") and time.monotonic() - started < 10


def test_memory_is_limited() -> None:
    assert run_program("x = bytearray(4 << 30)").reason == "MemoryError"


def test_no_file_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / "written"
    assert not run_program(f"f = open({str(target)!r}, 'w'); f.write('x'); f.close()").passed
    assert not target.exists() or target.read_text() == ""


def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_FOR_THE_TEST", "x")
    assert run_program("import os; assert 'SECRET_FOR_THE_TEST' not in os.environ").passed


def test_a_program_that_exits_before_its_tests_with_an_error_fails() -> None:
    assert not run_program("raise SystemExit(3)").passed
