"""The engine as the API process sees it: start, generate, abort, survive its death."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence

from engine.child import EngineChild
from engine.config import EngineConfig
from engine.errors import EngineError
from engine.messages import Abort, EngineStats, Output, Outputs, Ready, Submit
from engine.watchdog import Watchdog

DIED = "The engine process died; the request was lost, send it again."
HUNG = "The engine process hung and was replaced; the request was lost, send it again."
SLOW = "The answer was read too slowly; the request was ended."
CLOSED = "The server is shutting down; the request was ended, send it again."
#: pauses before the restarts after the first, second, ... death in a row, in seconds; the last one repeats
RESTART_SECONDS = (0.1, 0.5, 2.0, 5.0, 15.0, 30.0)
#: an engine that lived this long is thought sound again
SOUND_SECONDS = 60.0
#: outputs of a sequence that may wait to be read; each is a step's tokens
MAX_BACKLOG = 4096
#: how far back an engine's tokens per second look
RATE_SECONDS = 5.0

logger = logging.getLogger("tidar.engine")


class EngineClient:
    """One engine process behind an asyncio interface. Create it with `await EngineClient.start(config)`.

    `ready` is what the engine said when it had loaded, `stats` its last snapshot, `healthy` whether a process is up and
    loaded, and `last_forward` the time.monotonic() at which it was last seen to have run a forward.
    """

    ready: Ready
    _child: EngineChild
    _keeper: asyncio.Task[None]

    def __init__(self, config: EngineConfig, environment: Mapping[str, str] | None = None) -> None:
        """Only `start` makes a client that can be used."""
        self.config = config
        self._environment = environment
        self.stats = EngineStats()
        self.healthy = False
        self.restarts = 0
        self.last_forward = 0.0
        self._stats_time = 0.0
        self._watchdog = Watchdog(config.engine_timeout)
        self._answers: dict[str, asyncio.Queue[Output]] = {}

    @classmethod
    async def start(cls, config: EngineConfig, environment: Mapping[str, str] | None = None) -> EngineClient:
        """Spawn the process, with `environment` beside this one's, and wait until it has loaded.

        Raises EngineError with the engine's own sentence.
        """
        config.check()
        client = cls(config, environment)
        await client._load()
        client._keeper = asyncio.create_task(client._keep())
        return client

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def in_flight(self) -> int:
        """Sequences submitted and not finished."""
        return len(self._answers)

    def holds(self, request_id: str) -> bool:
        """Whether this sequence is in flight here."""
        return request_id in self._answers

    @property
    def waiting(self) -> int:
        """Sequences in flight that do not run; the engine's word on pages may be a moment old."""
        beyond = self.in_flight - self.config.max_num_seqs
        if self.stats.waiting:
            beyond = max(beyond, self.in_flight - self.stats.running)
        return max(0, beyond)

    @property
    def tokens_per_second(self) -> float:
        """The engine's own figure, or zero once it has been silent for longer than that figure looks back."""
        return self.stats.tokens_per_second if time.monotonic() - self._stats_time < RATE_SECONDS else 0.0

    async def generate(self, submit: Submit) -> AsyncGenerator[Output, None]:
        """The sequence's outputs until the one that carries finish_reason. Closing the iterator early aborts it."""
        if not self.healthy:
            yield _lost(submit.request_id, DIED)
            return
        if submit.request_id in self._answers:
            raise ValueError(f"Request id {submit.request_id} is already in flight.")
        answers = self._answers[submit.request_id] = asyncio.Queue()
        self._child.send(submit)
        finished = False
        try:
            while not finished:
                output = await answers.get()
                finished = output.finish_reason is not None
                yield output
        finally:
            self._answers.pop(submit.request_id, None)
            if not finished:
                self.abort([submit.request_id])

    def abort(self, request_ids: Sequence[str]) -> None:
        """Stop these sequences; each still answers with a last output."""
        if self.healthy and request_ids:
            self._child.send(Abort(list(request_ids)))

    def abort_all(self) -> None:
        self.abort(list(self._answers))

    async def close(self) -> None:
        """End the engine process; what is in flight gets an error."""
        self.healthy = False
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper
        self._lose(CLOSED)
        await self._child.close()

    async def _load(self) -> None:
        child = await EngineChild.spawn(self.config, self._take, self._environment)
        try:
            self.ready = await child.ready()
        except BaseException:
            await child.close()
            raise
        self._child = child
        self.stats = EngineStats(pages_total=self.ready.num_pages)
        self.last_forward = time.monotonic()
        self.healthy = True

    async def _keep(self) -> None:
        """When the process dies or hangs, tell its requests and start another, later each time in a row."""
        deaths = 0
        while True:
            born = time.monotonic()
            message, reason = await self._end()
            self.healthy = False
            self._lose(message)
            await self._child.close()
            logger.error("The engine process will be replaced: %s", reason)
            deaths = 0 if time.monotonic() - born > SOUND_SECONDS else deaths
            while not self.healthy:
                await asyncio.sleep(RESTART_SECONDS[min(deaths, len(RESTART_SECONDS) - 1)])
                deaths += 1
                await self._restart()

    async def _end(self) -> tuple[str, str]:
        """Wait for the end of the process, and bring it about where it hangs. What clients and operators are told."""
        ending = asyncio.ensure_future(self._child.end())
        hanging = asyncio.ensure_future(self._watchdog.barks())
        try:
            await asyncio.wait((ending, hanging), return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return DIED, ending.result()
            self._child.kill()
            return HUNG, f"It said nothing for {self.config.engine_timeout:g} s."
        finally:
            ending.cancel()
            hanging.cancel()

    async def _restart(self) -> None:
        try:
            await self._load()
        except EngineError as error:
            logger.error("The engine did not come back: %s", error)
            return
        self.restarts += 1
        logger.warning("The engine is back after %.1f s.", self.ready.load_seconds)

    def _take(self, event: Outputs | EngineStats) -> None:
        now = time.monotonic()
        self._watchdog.heard()
        if isinstance(event, EngineStats):
            if event.steps != self.stats.steps:
                self.last_forward = now
            self.stats, self._stats_time = event, now
            return
        self.last_forward = now
        for output in event.outputs:
            answers = self._answers.get(output.request_id)
            if answers is not None:
                self._hand_over(output, answers)

    def _hand_over(self, output: Output, answers: asyncio.Queue[Output]) -> None:
        """Give an output to its reader; one that lags too far behind is told so and gets no more."""
        if answers.qsize() < MAX_BACKLOG:
            answers.put_nowait(output)
        elif answers.qsize() == MAX_BACKLOG:
            answers.put_nowait(_lost(output.request_id, SLOW))
            self.abort([output.request_id])

    def _lose(self, message: str) -> None:
        for request_id, answers in self._answers.items():
            answers.put_nowait(_lost(request_id, message))


def _lost(request_id: str, message: str) -> Output:
    return Output(request_id=request_id, token_ids=[], finish_reason="error", error=message)
