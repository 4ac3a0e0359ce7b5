"""A command on a terminal of its own, typed at and read from."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import subprocess
import sys
import time
from types import TracebackType

from tests.server.live import ROOT

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07)|[\x01\x02]")
SIZE = {"COLUMNS": "100", "LINES": "40", "TERM": "xterm-256color"}


class Terminal:
    """`tidar` with arguments; use as a context manager. `raw` is everything it wrote."""

    def __init__(self, *arguments: str) -> None:
        ours, theirs = pty.openpty()
        self._file = ours
        self.raw = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        command = [sys.executable, "-m", "server.cli", *arguments]
        env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**env, **SIZE}, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=_own_terminal,
        )  # fmt: skip
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        os.close(self._file)

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def wait_for(self, said: str, seconds: float = 60.0) -> str:
        """What was written since the call, without colours, up to where it says so."""
        start = len(self.raw)
        deadline = time.monotonic() + seconds
        while said not in ESCAPES.sub("", self.raw[start:]):
            assert time.monotonic() < deadline, f"{said!r} did not come:\n{self.raw[start:]}"
            if not self._read():
                assert said in ESCAPES.sub("", self.raw[start:]), f"it ended:\n{self.raw}"
        return ESCAPES.sub("", self.raw[start:])

    def end(self, seconds: float = 30.0) -> int:
        """Read on until it ends; its exit code."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._read():
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self) -> bool:
        """Take what has come within a moment; false at the end."""
        if not select.select([self._file], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self._file, 65536)
        except OSError:
            return False
        self.raw += self._decoder.decode(data)
        return bool(data)


def _own_terminal() -> None:
    """Make standard input the controlling terminal, so that Ctrl-C typed there is a signal."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
