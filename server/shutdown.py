"""Ctrl-C and SIGTERM: the first asks the server to finish, the second to stop at once."""

from __future__ import annotations

import asyncio
import signal


class StopSignals:
    """`asked` is set by the first signal, `urgent` by the next."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.urgent = asyncio.Event()

    def install(self) -> None:
        """Take over both signals in the running loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signal)

    def _signal(self) -> None:
        (self.urgent if self.asked.is_set() else self.asked).set()
