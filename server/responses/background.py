"""A response that is made while no client waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from server.responses.answer import ResponseAnswer
from server.settings import Pacing


class Run:
    """Makes the response in a task of its own and keeps its events, so that clients may come, leave and return."""

    def __init__(self, answer: ResponseAnswer, pacing: Pacing, ended: Callable[[], None]) -> None:
        """`ended` is called when nothing more comes of it."""
        self.answer = answer
        self._events: list[bytes] = []
        self._news = asyncio.Event()
        self._cancelling = False
        self._task = asyncio.create_task(self._work(pacing))
        self._task.add_done_callback(lambda _: ended())

    @property
    def size(self) -> int:
        """Bytes of its events."""
        return sum(map(len, self._events))

    @property
    def running(self) -> bool:
        return not self._task.done()

    async def cancel(self) -> None:
        """Stop it, if it still runs, and wait until the engine has been told."""
        if self._task.done():
            return
        self._cancelling = True
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self.answer.unfinished:
            self._events.append(self.answer.cancel())
        self._cancelling = False
        self._wake()

    async def follow(self, after: int) -> AsyncGenerator[bytes, None]:
        """Its events whose number is above `after`, past ones first."""
        at = after + 1
        while True:
            while at < len(self._events):
                yield self._events[at]
                at += 1
            if self._task.done() and not self._cancelling:
                return
            await self._news.wait()

    async def _work(self, pacing: Pacing) -> None:
        try:
            async with aclosing(self.answer.events(pacing)) as events:
                async for event in events:
                    self._events.append(event)
                    self._wake()
        finally:
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
