"""`tidar doctor` on a sound machine, and on one broken in as many ways as a test can break it."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server.live import ROOT, free_port

UNWRITABLE = "/proc/nothing-can-be-written-here"


def doctor(
    *flags: str, env: dict[str, str] | None = None, files: int | None = None
) -> subprocess.CompletedProcess[str]:
    """`files`: how many may be open."""

    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    return subprocess.run(
        [sys.executable, "-m", "server.cli", "doctor", *flags],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=300,
    )


def levels(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in json.loads(done.stdout)}


def test_here_it_serves() -> None:
    done = doctor("--port", str(free_port()))
    assert done.returncode == 0, done.stdout
    for said in ("torch: ", "triton: ", "cores: ", "model: tidar-python-5m", "is free", "GiB free"):
        assert said in done.stdout
    assert "fail " not in done.stdout


def test_what_is_broken_is_named_with_its_remedy() -> None:
    caches = {"TIDAR_HOME": UNWRITABLE, "HF_HUB_CACHE": UNWRITABLE, "TRITON_CACHE_DIR": UNWRITABLE}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        done = doctor("/no/such/model", "--port", port, "--threads", "999", "--json", env=caches, files=256)
    assert done.returncode == 1, done.stderr
    found = levels(done)
    assert found["port"]["level"] == "fail" and port in found["port"]["found"]
    assert found["model"]["level"] == "fail" and "/no/such/model" in found["model"]["found"]
    assert found["cores"]["level"] == found["open files"]["level"] == "warn"
    assert "ulimit" in found["open files"]["advice"] or "limit" in found["open files"]["advice"]
    for cache, variable in (("pulled models", "TIDAR_HOME"), ("hub models", "HF_HOME")):
        assert found[cache]["level"] == "warn" and variable in found[cache]["advice"]
    assert "cannot compile" in found["triton"]["found"]


@pytest.mark.parametrize("loads", [True, False])
def test_a_torch_that_does_not_fit_is_named(tmp_path: Path, loads: bool) -> None:
    """Another torch lies before the real one: too old by its own word, or broken so that it cannot be imported."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(
        "__version__ = '1.0'" if loads else "raise ImportError('libnone.so')"
    )
    (tmp_path / "torch-1.0.dist-info").mkdir()
    (tmp_path / "torch-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = doctor("--port", "0", "--json", env={"PYTHONPATH": path})
    assert done.returncode == 1, done.stderr
    found = levels(done)
    assert "torch 1.0 is not >=" in found["packages"]["found"]
    said = found["torch"]["found"] if loads else found["gpu"]["found"]
    assert ("1.0, but" if loads else "libnone.so") in said
    assert found["port"]["level"] == "ok"
