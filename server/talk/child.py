"""A server of one's own for as long as a conversation lasts."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.child import python_environment
from server.talk.remote import Remote, RemoteError

LOAD_SECONDS = 600.0
LEAVE_SECONDS = 10.0
#: keys would lock the socket, which nobody else can open anyway, and a conversation is nobody's trace
DROPPED = ("TIDAR_API_KEY", "TIDAR_API_KEY_FILE", "TIDAR_OTLP_ENDPOINT")


@contextmanager
def own_server(flags: Sequence[str]) -> Iterator[Remote]:
    """Start `tidar serve` with these flags on a Unix socket, and end it on leaving. Raises RemoteError."""
    with tempfile.TemporaryDirectory(prefix="tidar-chat-") as folder:
        socket, log = Path(folder) / "socket", Path(folder) / "log"
        command = [sys.executable, "-m", "server.cli", "serve", *flags, "--uds", str(socket), "--no-web"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env={name: value for name, value in python_environment().items() if name not in DROPPED},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C ends an answer, not the server.
                start_new_session=True,
            )
        try:
            with Remote("http://localhost", uds=str(socket)) as remote:
                _await(process, remote, log)
                yield remote
        finally:
            _end(process)


def _await(process: subprocess.Popen[bytes], remote: Remote, log: Path) -> None:
    deadline = time.monotonic() + LOAD_SECONDS
    while not remote.healthy():
        if process.poll() is not None:
            said = log.read_text(errors="replace").strip().splitlines()
            raise RemoteError(said[-1] if said else f"The server ended with exit code {process.returncode}.")
        if time.monotonic() > deadline:
            raise RemoteError(f"The server did not come up within {LOAD_SECONDS:g} s.")
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
