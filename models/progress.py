"""A bar on the terminal while a large model is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: smaller models are there before a bar could be read, in bytes
WORTH_SHOWING = 2**28


@contextmanager
def loading_bar(total: int) -> Iterator[Callable[[int], object]]:
    """Yields what to call with the bytes that are done; draws on stderr alone, and only where that is a terminal."""
    if total < WORTH_SHOWING or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Loading the weights", total=total)
        yield lambda done: bar.advance(task, done)
