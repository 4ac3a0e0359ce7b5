"""Does an engine really answer? A forward seen lately says yes; otherwise it is asked for one token."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import aclosing

from engine.client import EngineClient
from engine.fleet import EngineFleet
from engine.messages import Submit
from engine.params import SamplingParams

#: a forward this recent is proof enough, in seconds
RECENT_SECONDS = 10.0
#: how long the engine may take for one token, in seconds
PATIENCE_SECONDS = 5.0
#: before everything else in the queue
PRIORITY = -(2**31)


class Readiness:
    """Whether at least one engine answers."""

    def __init__(self, fleet: EngineFleet) -> None:
        self._probes = [Probe(engine) for engine in fleet.engines]

    async def serves(self) -> bool:
        asking = [asyncio.ensure_future(probe.answers()) for probe in self._probes]
        try:
            for answer in asyncio.as_completed(asking):
                if await answer:
                    return True
            return False
        finally:
            for question in asking:
                question.cancel()


class Probe:
    """Asks at most once at a time, however many ask it."""

    def __init__(self, engine: EngineClient) -> None:
        self._engine = engine
        self._asking = asyncio.Lock()

    async def answers(self) -> bool:
        """Whether the engine has run a forward within the last seconds, or runs one now."""
        async with self._asking:
            if not self._engine.healthy:
                return False
            if time.monotonic() - self._engine.last_forward < RECENT_SECONDS:
                return True
            try:
                return await asyncio.wait_for(self._one_token(), PATIENCE_SECONDS)
            except TimeoutError:
                return False

    async def _one_token(self) -> bool:
        submit = Submit(
            request_id=f"probe-{uuid.uuid4().hex}",
            prompt_token_ids=[0],
            params=SamplingParams(temperature=0.0, max_tokens=1),
            priority=PRIORITY,
            arrival_time=time.monotonic(),
        )
        async with aclosing(self._engine.generate(submit)) as outputs:
            async for output in outputs:
                if output.finish_reason is not None:
                    return output.finish_reason in ("stop", "length")
        return False
