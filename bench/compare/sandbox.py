"""Runs a program that a model wrote, where it can do little harm."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass

#: address space of the program, bytes
MEMORY = 1 << 30
#: bytes of its output that are kept
OUTPUT = 10_000


@dataclass(frozen=True)
class Verdict:
    """`passed` where the program ended by itself with exit status 0; else `reason` says in a word why not."""

    passed: bool
    reason: str = ""


def run_program(source: str, seconds: float = 5.0) -> Verdict:
    """Run Python source in a process of its own: isolated mode, empty environment, an empty folder that goes away,
    limits on time, memory, file sizes and processes, no standard input.

    These limits stop accidents and loops, not an attacker: the process runs as the same user and may use the network.
    """
    with tempfile.TemporaryDirectory(prefix="tidar-sandbox-") as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", source],
                cwd=folder,
                env={},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=seconds,
                preexec_fn=lambda: _limit(int(seconds) + 1),
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Verdict(False, "time")
    if done.returncode == 0:
        return Verdict(True)
    if done.returncode < 0:
        return Verdict(False, "killed")
    last = done.stderr[-OUTPUT:].decode(errors="replace").strip().splitlines()
    return Verdict(False, last[-1].split(":")[0] if last else "error")


def _limit(seconds: int) -> None:
    limits = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: MEMORY,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
        # no fork: the limit counts the user's processes, and this one exists already; root is exempt
        resource.RLIMIT_NPROC: 1,
    }
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))
