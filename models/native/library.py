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
_V3 = frozenset({"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "abm"})
#: processors that libraries are compiled for, the best first, and what Linux says of these; any other gets its own
LEVELS = {
    "x86-64-v4": _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": _V3,
}
#: libraries that came with the installation, as into an image without a compiler
PREBUILT = Path(__file__).parent / "prebuilt"
#: sums stay in the order they are written in, for rows are to have the same bits in every batch
_MATH = ("-fno-math-errno", "-fno-trapping-math", "-fno-associative-math", "-ffp-contract=fast")
_OPTIONS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-Wno-psabi", *_MATH)
#: With GNU's OpenMP a kernel shares torch's threads; without it has one. Clang's would bring threads of its own, which
#: take the cores from torch's.
_ATTEMPTS = {"gcc": (("-fopenmp",), ()), "clang": ((),)}
_TIMEOUT_SECONDS = 120.0
_HEADERS = Path(__file__).parent


@cache
def library(folder: Path, dtype: torch.dtype) -> ctypes.CDLL | None:
    """All C files of `folder` in one library for this dtype; None, with a line in the log, where that cannot be."""
    if dtype not in DTYPES:
        return None
    try:
        return ctypes.CDLL(str(_found(folder, dtype, _level())))
    except subprocess.SubprocessError as error:
        output = getattr(error, "stderr", None) or str(error)
        hindrance = f"the C compiler failed: {_first_error(output)}"
    except OSError as error:
        hindrance = str(error)
    logger.info("No C kernels from %s, torch computes: %s.", folder.name, hindrance)
    return None


def prebuild(folder: Path) -> list[Path]:
    """Compile the folder's library for every level and dtype into the installation, to be found by `library`.

    Nothing is made on other processors than x86-64, which have no levels.

    Raises OSError without a compiler, CalledProcessError where it fails.
    """
    made: list[Path] = []
    if platform.machine() not in ("x86_64", "AMD64"):
        return made
    PREBUILT.mkdir(exist_ok=True)
    for level in LEVELS:
        for dtype in DTYPES:
            made.append(PREBUILT / _name(folder, dtype, level))
            _compile(folder, dtype, level, made[-1])
    return made


def compiler() -> str | None:
    """The C compiler: what CC names, or cc, gcc or clang."""
    names = (os.environ.get("CC"), "cc", "gcc", "clang")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def _is_clang(found: str) -> bool:
    """Whatever it is called: macOS has it as cc and as gcc."""
    told = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    return "clang" in told.stdout


def _first_error(output: str) -> str:
    """Of all that a compiler prints, the line to begin with."""
    lines = output.strip().splitlines()
    return next((line for line in lines if "error" in line), lines[-1])


def _found(folder: Path, dtype: torch.dtype, level: str) -> Path:
    """The library's file: what came with the installation, or was compiled before, or is compiled now."""
    name = _name(folder, dtype, level)
    if (PREBUILT / name).exists():
        return PREBUILT / name
    target = _writable_folder() / name
    if not target.exists():
        _compile(folder, dtype, level, target)
    return target


def _name(folder: Path, dtype: torch.dtype, level: str) -> str:
    """Tells sources, dtype and processor, so that a cache may outlive a version and be shared by machines."""
    digest = hashlib.sha256(" ".join([*_OPTIONS, *DTYPES[dtype]]).encode())
    for file in [*_sources(folder), *sorted(_HEADERS.glob("*.h"))]:
        digest.update(file.read_bytes())
    if level not in LEVELS:
        digest.update(_processor().encode())
    return f"{folder.name}-{level}-{digest.hexdigest()[:24]}.so"


def _sources(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.c"))


def _compile(folder: Path, dtype: torch.dtype, level: str, target: Path) -> None:
    """Processes may meet here: each compiles to a file of its own, and the last one to finish is kept."""
    found = compiler()
    if found is None:
        raise OSError("there is no C compiler (install gcc)")
    command = [found, *_OPTIONS, f"-march={level}", *DTYPES[dtype], f"-I{_HEADERS}", *map(str, _sources(folder))]
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        built = Path(scratch) / target.name
        attempts = _ATTEMPTS["clang" if _is_clang(found) else "gcc"]
        for attempt, extra in enumerate(attempts):
            try:
                subprocess.run(
                    [*command, *extra, "-o", str(built), "-lm"],
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=_TIMEOUT_SECONDS,
                )
                break
            except subprocess.SubprocessError:
                if attempt == len(attempts) - 1:
                    raise
        os.replace(built, target)


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


def _level() -> str:
    """The best level that this processor has, or "native"."""
    words = set(_processor().split())
    return next((level for level, wanted in LEVELS.items() if wanted <= words), "native")


@cache
def _processor() -> str:
    """What the compiler reads from the processor: a cache may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
