"""The bar of a large model is drawn on a terminal, and nothing where nobody looks."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

LOAD = "from models.progress import loading_bar\nwith loading_bar({total}) as advance:\n    advance({total})\n"


def drawn(total: int, terminal: bool) -> str:
    """What a process that loads so many bytes writes to its stderr."""
    parent, child = pty.openpty()
    command = [sys.executable, "-c", LOAD.format(total=total)]
    environment = {**os.environ, "TERM": "xterm"}
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=child if terminal else subprocess.PIPE,
        check=True,
    )
    os.close(child)
    if not terminal:
        os.close(parent)
        return str(done.stderr.decode())
    os.set_blocking(parent, False)
    try:
        return os.read(parent, 2**16).decode()
    except (BlockingIOError, OSError):
        return ""
    finally:
        os.close(parent)


@pytest.mark.parametrize(("total", "terminal", "seen"), [(2**30, True, True), (2**30, False, False), (9, True, False)])
def test_a_bar_is_drawn_for_those_who_wait(total: int, terminal: bool, seen: bool) -> None:
    assert ("Loading the weights" in drawn(total, terminal)) is seen
