"""`tidar serve` in processes of its own, and the memory that they hold."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

UP_SECONDS = 120.0
MIB = 2**20


@dataclass(frozen=True)
class Served:
    """A server that is up: where, and its process."""

    url: str
    pid: int

    def engine_pids(self) -> list[int]:
        """Its engine processes; another takes the place of one that dies."""
        return [child for child in _children(self.pid) if b"engine.process" in _command(child)]

    def resident(self) -> dict[str, float]:
        """MiB in RAM of the API process and of its engines together."""
        return {"api": _resident(self.pid), "engine": sum(_resident(pid) for pid in self.engine_pids())}


@contextmanager
def served(*arguments: str) -> Iterator[Served]:
    """A server started with these arguments. Raises RuntimeError, with what it said, where it does not come up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "server.cli", "serve", *arguments, "--port", str(port)]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            url = f"http://127.0.0.1:{port}"
            if not _comes_up(process, url):
                said.seek(0)
                raise RuntimeError(f"The server did not come up: {said.read()[-500:]}")
            yield Served(url, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _comes_up(process: subprocess.Popen[bytes], url: str) -> bool:
    end = time.monotonic() + UP_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _resident(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / MIB
    except OSError:
        pass
    return 0.0
