"""Faults that cannot be had from outside, put into the server's own processes.

Python imports `sitecustomize` from PYTHONPATH before anything else, so a test can replace what it wants to see fail
without a line of it in the product.
"""

from __future__ import annotations

import os
from pathlib import Path

STEP = """
import sys

if "engine.process" in sys.orig_argv:
    from pathlib import Path

    import torch
    from engine.runner import Runner

    wanted, forward = Path({wanted!r}), Runner.forward

    def failing(self, windows):
        if wanted.exists():
            fault = wanted.read_text()
            wanted.unlink()
            if fault == "cuda":
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            if fault == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, windows)

    Runner.forward = failing
"""

CLOCK = """
import time
from pathlib import Path

wanted, real = Path({wanted!r}), time.time


def jumping():
    return real() + (float(wanted.read_text()) if wanted.exists() else 0.0)


time.time = jumping
"""


class Injection:
    """`environment` is for the server; the fault happens when `strike` says so, once or until `end`."""

    def __init__(self, folder: Path, code: str) -> None:
        self._wanted = folder / "wanted"
        (folder / "sitecustomize.py").write_text(code.format(wanted=str(self._wanted)))
        paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {"PYTHONPATH": os.pathsep.join(paths)}

    def strike(self, fault: str) -> None:
        partial = self._wanted.with_suffix(".partial")
        partial.write_text(fault)
        partial.rename(self._wanted)

    @property
    def struck(self) -> bool:
        return not self._wanted.exists()

    def end(self) -> None:
        self._wanted.unlink(missing_ok=True)
