"""Notices an engine that has stopped talking."""

from __future__ import annotations

import asyncio
import time

#: looks per patience
LOOKS = 8


class Watchdog:
    """Barks when nothing has been heard for `patience` seconds; with 0 it never does."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._silence = 0.0

    def heard(self) -> None:
        self._silence = 0.0

    async def barks(self) -> None:
        """Returns when the silence has become too long.

        Silence is added up look by look, none of which counts for much more than its share: when this process itself
        was suspended or starved, the engine's messages may be waiting to be read.
        """
        if not self._patience:
            await asyncio.Event().wait()
        look = self._patience / LOOKS
        self._silence = 0.0
        while self._silence < self._patience:
            began = time.monotonic()
            await asyncio.sleep(look)
            self._silence += min(time.monotonic() - began, 2 * look)
