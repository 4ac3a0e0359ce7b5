"""How many tokens one chunk of a stream carries, and when it leaves."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from server.settings import Pacing
from server.smoothing import smoothed
from server.transcript import Delta


async def paced(deltas: AsyncGenerator[Delta, None], pacing: Pacing) -> AsyncGenerator[Delta, None]:
    """Deltas joined until they show text and hold `interval` tokens; first and last ones go at once."""
    if pacing.smooth:
        deltas = smoothed(deltas)
    waiting: dict[int, Delta] = {}
    begun: set[int] = set()
    async with aclosing(deltas):
        async for delta in deltas:
            held = waiting.setdefault(delta.index, delta)
            if held is not delta:
                held.add(delta)
            enough = len(held.tokens) >= pacing.interval or held.index not in begun
            if held.finish_reason is not None or ((held.text or held.reasoning) and enough):
                held.first = held.index not in begun
                begun.add(held.index)
                yield waiting.pop(held.index)


async def collected(deltas: AsyncGenerator[Delta, None], choices: int) -> list[Delta]:
    """Every choice whole, in order."""
    whole = [Delta(index) for index in range(choices)]
    async with aclosing(deltas):
        async for delta in deltas:
            whole[delta.index].add(delta)
    return whole
