"""All engine processes of a server behind one interface; each lives, dies and is restarted on its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from engine.client import EngineClient
from engine.config import EngineConfig
from engine.errors import EngineError
from engine.messages import Output, Ready, Submit
from engine.replicas import divide
from engine.routing import Router

#: an engine may be ahead of the least busy one by this share of the sequences it can run
MARGIN_SHARE = 8


class EngineFleet:
    """`data_parallel_size` engines, each with the whole model. Create it with `await EngineFleet.start(config)`.

    A sequence goes to one engine and stays there. `config` is the settings of the whole, whose limits hold for each
    engine; `ready` is what the first engine said when it had loaded, and the others are like it.
    """

    def __init__(self, config: EngineConfig, engines: Sequence[EngineClient]) -> None:
        """Only `start` makes a fleet that can be used."""
        self.config = config
        self.engines = tuple(engines)
        ready = self.ready
        margin = max(1, config.max_num_seqs // MARGIN_SHARE)
        self._router = Router(len(engines), ready.page_size, ready.num_pages, margin)
        self._restarts = [engine.restarts for engine in self.engines]

    @classmethod
    async def start(cls, config: EngineConfig) -> EngineFleet:
        """Spawn all processes at once and wait until they have loaded. Raises EngineError with the first one's own
        sentence, and leaves none behind."""
        config.check()
        replicas = divide(config)
        starting = [asyncio.create_task(EngineClient.start(r.config, r.environment)) for r in replicas]
        try:
            engines = await asyncio.gather(*starting)
            _check_alike(engines)
        except BaseException:
            for task in starting:
                task.cancel()
            ended = await asyncio.gather(*starting, return_exceptions=True)
            await asyncio.gather(*(engine.close() for engine in ended if isinstance(engine, EngineClient)))
            raise
        return cls(config, engines)

    @property
    def ready(self) -> Ready:
        return self.engines[0].ready

    @property
    def healthy(self) -> bool:
        """Whether at least one engine is up and loaded."""
        return any(engine.healthy for engine in self.engines)

    @property
    def in_flight(self) -> int:
        """Sequences submitted and not finished."""
        return sum(engine.in_flight for engine in self.engines)

    @property
    def waiting(self) -> int:
        """Sequences in flight that do not run."""
        return sum(engine.waiting for engine in self.engines if engine.healthy)

    @property
    def seats(self) -> int:
        """Sequences that the engines which are up run at once."""
        return self.config.max_num_seqs * sum(engine.healthy for engine in self.engines)

    @property
    def places(self) -> int:
        """Sequences that the engines which are up hold at once, running or waiting."""
        return (self.config.max_num_seqs + self.config.max_waiting) * sum(engine.healthy for engine in self.engines)

    @property
    def most_places(self) -> int:
        """`places` with every engine up."""
        return (self.config.max_num_seqs + self.config.max_waiting) * len(self.engines)

    def generate(self, submit: Submit) -> AsyncGenerator[Output, None]:
        """The sequence's outputs, from the engine chosen for it, as EngineClient.generate gives them."""
        self._forget_restarted()
        loads = {index: engine.in_flight for index, engine in enumerate(self.engines) if engine.healthy}
        chosen = self._router.route(submit.prompt_token_ids, loads) if loads else 0
        return self.engines[chosen].generate(submit)

    def abort(self, request_ids: Sequence[str]) -> None:
        """Stop these sequences; each still answers with a last output."""
        for engine in self.engines:
            engine.abort([request_id for request_id in request_ids if engine.holds(request_id)])

    def abort_all(self) -> None:
        for engine in self.engines:
            engine.abort_all()

    def _forget_restarted(self) -> None:
        """A new process begins with an empty cache."""
        for index, engine in enumerate(self.engines):
            if engine.restarts != self._restarts[index]:
                self._restarts[index] = engine.restarts
                self._router.forget(index)

    async def close(self) -> None:
        """End all processes; what is in flight gets an error."""
        await asyncio.gather(*(engine.close() for engine in self.engines))


def _check_alike(engines: Sequence[EngineClient]) -> None:
    """An engine that found no GPU of its own would serve from the CPU and slow everything that is sent to it."""
    devices = {engine.ready.device.partition(":")[0] for engine in engines}
    if len(devices) > 1:
        raise EngineError(f"The engines found different devices ({', '.join(sorted(devices))}); set --device.")
