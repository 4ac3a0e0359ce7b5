"""What the single checks say of machines that tests can only describe; tests/e2e runs the command on a broken one."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.doctor import cpu, files, gpu, memory, packages, triton
from server.doctor.base import Finding, Level, Plan
from server.doctor.examine import examine
from server.doctor.port import check_port
from tests.server.tiny_model import SHIPPED

DRIVER = "NVRM version: NVIDIA UNIX {}x86_64 Kernel Module  {}  Tue Jan  7 20:51:19 UTC 2025\nGCC version: 12.3.0\n"


def one(findings: list[Finding], name: str) -> Finding:
    found = [finding for finding in findings if finding.name == name]
    assert len(found) == 1, findings
    return found[0]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_every_line_that_is_not_well_says_what_to_do(taken_port: int) -> None:
    findings = list(examine(Plan(port=taken_port, model="/nowhere/at/all", threads=4096)))
    assert len({finding.name for finding in findings}) == len(findings)
    assert all(bool(finding.advice) == (finding.level is not Level.OK) for finding in findings)
    assert all(finding.advice.endswith(".") for finding in findings if finding.advice)
    assert one(findings, "port").level is Level.FAIL
    assert "/nowhere/at/all" in one(findings, "model").found
    assert one(findings, "cores").level is Level.WARN


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project\n")
    findings = list(examine(Plan(port=0)))
    assert "TOMLDecodeError" in one(findings, "packages").found
    assert one(findings, "port").level is Level.OK


@pytest.mark.parametrize(("style", "version"), [("", "550.54.15"), ("Open Kernel Module for ", "580.65.06")])
def test_the_drivers_version_is_the_kernels_word(tmp_path: Path, style: str, version: str) -> None:
    file = tmp_path / "version"
    text = DRIVER.format("", version)
    file.write_text(text.replace("Kernel Module  ", f"{style}x86_64  ") if style else text)
    assert gpu.driver_version(file) == version
    assert gpu.driver_version(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("cuda", "driver", "level"),
    [
        (None, None, Level.OK),
        ("12.8", None, Level.WARN),
        (None, "550.54", Level.WARN),
        ("12.8", "525.60.13", Level.OK),
        ("12.8", "470.1", Level.FAIL),
        ("13.0", "550.54", Level.FAIL),
    ],
)
def test_driver_and_torch_have_to_know_each_other(cuda: str | None, driver: str | None, level: Level) -> None:
    assert gpu.driver_finding(cuda, driver).level is level


def test_versions_are_held_against_what_was_asked_and_what_was_tested(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    project = (
        '[project]\ndependencies = ["typer>=999", "no-such-package", "rich>=1", "uvloop; sys_platform == \'none\'"]\n'
    )
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "constraints.txt").write_text("# tested\nrich==0.0.1\n")
    findings = packages.check_packages(Plan())
    required = one(findings, "packages")
    assert required.level is Level.FAIL
    assert "typer" in required.found and "no-such-package is missing" in required.found
    assert "rich" not in required.found and "uvloop" not in required.found
    assert one(findings, "versions").level is Level.WARN
    assert "for 0.0.1" in one(findings, "versions").found


def test_a_model_too_large_for_this_machine_is_known_by_its_config(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "config.json", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.update(hidden_size=65536, intermediate_size=2**18, num_hidden_layers=96)
    (tmp_path / "config.json").write_text(json.dumps(config))
    room = one(memory.check_memory(Plan(model=str(tmp_path), device="cpu")), "memory")
    assert room.level is Level.FAIL
    assert "weights and a forward need" in room.found
    config.update(hidden_size=256, intermediate_size=768, num_hidden_layers=6, max_position_embeddings=2**21)
    (tmp_path / "config.json").write_text(json.dumps(config))
    room = one(memory.check_memory(Plan(model=str(tmp_path), device="cpu")), "memory")
    assert room.level is Level.OK, "a CPU's cache is bounded, whatever the context"


def test_memory_is_what_the_control_group_leaves(tmp_path: Path) -> None:
    meminfo, limit, used = (tmp_path / name for name in ("meminfo", "max", "current"))
    meminfo.write_text("MemTotal: 4000 kB\nMemAvailable:   3000 kB\n")
    assert memory.host_free(meminfo, limit, used) == 3000 * 1024
    limit.write_text("2000000\n")
    used.write_text("500000\n")
    assert memory.host_free(meminfo, limit, used) == 1500000
    limit.write_text("max\n")
    assert memory.host_free(meminfo, limit, used) == 3000 * 1024


@pytest.mark.parametrize(("text", "cores"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("", None)])
def test_a_quota_of_cores_is_known(tmp_path: Path, text: str, cores: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cpu.cpu_quota(tmp_path / "cpu.max") == cores


def test_a_cache_below_a_file_is_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TIDAR_HOME", str(tmp_path / "file" / "cache"))
    found = one(files.check_caches(Plan()), "pulled models")
    assert found.level is Level.WARN
    assert "is no folder" in found.found


def test_more_connections_than_open_files_are_a_warning() -> None:
    found = files.check_descriptors(Plan(max_waiting=10**9))[0]
    assert found.level is Level.WARN
    assert str(10**9 + 64 + files.BESIDE_CONNECTIONS) in found.found


def test_an_address_of_another_machine_cannot_be_used() -> None:
    assert check_port(Plan(host="192.0.2.1"))[0].level is Level.FAIL
    assert check_port(Plan(host="0.0.0.0", port=0))[0].level is Level.WARN


def test_triton_is_asked_to_compile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "kernels"))
    assert triton.compile_problem(90) is None
    monkeypatch.setenv("TRITON_CACHE_DIR", "/proc/nothing-can-be-written-here")
    assert triton.compile_problem(90)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc makes the module that the image brings along")
def test_without_a_compiler_a_launcher_that_is_in_the_cache_will_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("TRITON_LIBCUDA_PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    script = Path(__file__).parents[2] / "docker" / "triton_driver.py"
    for arguments in (("--stub", str(tmp_path)), ()):
        subprocess.run([sys.executable, script, *arguments], check=True)
    (tmp_path / "bin").mkdir()
    if (file := shutil.which("file")) is not None:
        # what it says of this Python is part of the cache's key
        (tmp_path / "bin" / "file").symlink_to(file)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CC", raising=False)
    assert triton.launcher_problem() is None
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "empty"))
    assert "compiler" in (triton.launcher_problem() or "")
