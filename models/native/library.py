"""Compiles C kernels once for the machine they run on, with its own C compiler, and loads them."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch

from models.catalogue import cache_folder

logger = logging.getLogger(__name__)

#: what kernels can compute in, as C knows it
DTYPES = {torch.float32: ("-DREAL=float", "-DSINGLE"), torch.float64: ("-DREAL=double",)}
#: sums may be reordered; NaN and infinity stay what they are
_MATH = ("-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros")
_OPTIONS = ("-O3", "-march=native", "-std=gnu11", "-fPIC", "-shared", "-Wno-psabi", *_MATH)
#: with OpenMP a kernel shares torch's threads; without it has one
_ATTEMPTS = (("-fopenmp",), ())
_TIMEOUT_SECONDS = 120.0
_HEADERS = Path(__file__).parent


@cache
def library(folder: Path, dtype: torch.dtype) -> ctypes.CDLL | None:
    """All C files of `folder` in one library for this dtype; None, with a line in the log, where that cannot be."""
    hindrance = _hindrance(dtype)
    if hindrance is None:
        try:
            return ctypes.CDLL(str(_compiled(folder, dtype)))
        except (OSError, subprocess.SubprocessError) as error:
            hindrance = f"the C compiler failed: {_first_error(getattr(error, 'stderr', None) or str(error))}"
    logger.info("No kernels from %s, torch's are used: %s.", folder.name, hindrance)
    return None


def compiler() -> str | None:
    """The C compiler: what CC names, or cc or gcc."""
    return next((found for name in (os.environ.get("CC"), "cc", "gcc") if name and (found := shutil.which(name))), None)


def _hindrance(dtype: torch.dtype) -> str | None:
    if dtype not in DTYPES:
        return f"they do not compute in {str(dtype).removeprefix('torch.')}"
    return None if compiler() is not None else "there is no C compiler (install gcc)"


def _first_error(output: str) -> str:
    """Of all that a compiler prints, the line to begin with."""
    lines = output.strip().splitlines()
    return next((line for line in lines if "error" in line), lines[-1])


def _compiled(folder: Path, dtype: torch.dtype) -> Path:
    """The library's file, compiled unless it is there; its name tells sources, options, compiler and processor."""
    command = [str(compiler()), *_OPTIONS, *DTYPES[dtype], f"-I{_HEADERS}"]
    sources = sorted(folder.glob("*.c"))
    digest = hashlib.sha256(" ".join(command).encode())
    for file in [*sources, *sorted(_HEADERS.glob("*.h"))]:
        digest.update(file.read_bytes())
    digest.update(_run([command[0], "--version"]).encode() + _processor().encode())
    target = _writable_folder() / f"{folder.name}-{digest.hexdigest()[:24]}.so"
    if not target.exists():
        _compile(command, [str(source) for source in sources], target)
    return target


def _compile(command: list[str], sources: list[str], target: Path) -> None:
    """Processes may meet here: each compiles to a file of its own, and the last one to finish is kept."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / target.name
        for attempt, extra in enumerate(_ATTEMPTS):
            try:
                _run([*command, *extra, *sources, "-o", str(built), "-lm"])
                break
            except subprocess.SubprocessError:
                if attempt == len(_ATTEMPTS) - 1:
                    raise
        os.replace(built, target)


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS).stdout


def _writable_folder() -> Path:
    folder = cache_folder() / "native"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return _own_folder()


@cache
def _own_folder() -> Path:
    """For a process that has no cache: it compiles anew and leaves the files to the system's cleaning."""
    return Path(tempfile.mkdtemp(prefix="tidar-native-"))


@cache
def _processor() -> str:
    """What the compiler reads from the processor: a cache may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
