"""The gate in front of real engines, with a clock that the test turns: who is let in, and who is told to wait."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import pytest

from engine.config import EngineConfig
from engine.fleet import EngineFleet
from engine.messages import Output, Submit
from engine.params import SamplingParams
from server.errors import ApiError
from server.gate import Gate
from server.metrics import ServerMetrics
from server.timeline import Timeline
from server.turnover import ENOUGH

SEATS = 2
#: who would wait longer is refused, in seconds
PATIENCE = 30.0


class House:
    """A fleet behind its gate. A sequence stays inside until the test lets it go, so the queue is the test's own."""

    def __init__(self, fleet: EngineFleet) -> None:
        self.now = 1000.0
        self.fleet = fleet
        self.metrics = ServerMetrics()
        self.gate = Gate(fleet, self.metrics, PATIENCE, lambda: self.now)
        self._inside: list[tuple[AsyncGenerator[Output, None], Timeline]] = []
        self._arrivals = 0

    async def arrive(self, count: int = 1) -> None:
        """So many come, one by one. Raises the refusal that one of them gets."""
        for _ in range(count):
            with self.gate.place(1):
                pass
            self.gate.check_open()
            self._arrivals += 1
            params = SamplingParams(max_tokens=1, ignore_eos=True)
            submit = Submit(request_id=f"one-{self._arrivals}", prompt_token_ids=[5, 6, 7], params=params)
            outputs = self.fleet.generate(submit)
            await anext(outputs)
            self._inside.append((outputs, Timeline(self.metrics, self.now, 3)))

    async def leave(self, reason: str = "length") -> None:
        """The oldest one goes."""
        outputs, timeline = self._inside.pop(0)
        await outputs.aclose()
        timeline.finish(reason)

    async def turn_over(self, count: int, seconds: float, reason: str = "length") -> None:
        """So many go, `seconds` apart, and for each comes another."""
        for _ in range(count):
            self.now += seconds
            await self.leave(reason)
            await self.arrive()

    async def empty(self) -> None:
        while self._inside:
            await self.leave()


@pytest.fixture
async def house(served_model: Path) -> AsyncIterator[House]:
    config = EngineConfig(model=str(served_model), dtype="float64", threads=1, max_num_seqs=SEATS, max_waiting=60)
    fleet = await EngineFleet.start(config)
    house = House(fleet)
    yield house
    await house.empty()
    await fleet.close()


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_after_a_burst_and_a_silence_a_burst_is_let_in(house: House) -> None:
    await house.arrive(10)
    await house.turn_over(2 * ENOUGH, 0.1)
    await house.empty()
    house.now += 2 * 3600
    await house.arrive(10)
    await house.turn_over(ENOUGH, 0.1)


@pytest.mark.parametrize("reason", ["length", "stop", "abort", "error"])
async def test_who_would_wait_too_long_is_refused_whatever_the_others_left_for(house: House, reason: str) -> None:
    await house.arrive(SEATS + 5)
    await house.turn_over(ENOUGH, 4.0, reason)
    await house.arrive(2)
    with pytest.raises(ApiError, match="about 32 s, longer than the 30 s") as refused:
        await house.arrive(3)
    assert refused.value.status_code == 429
    assert refused.value.headers == {"Retry-After": "2"}


async def test_requests_being_prepared_wait_only_where_no_seat_is_free(house: House) -> None:
    await house.arrive(SEATS + 5)
    await house.turn_over(ENOUGH, 4.0)
    await house.empty()
    with house.gate.place(SEATS):
        house.gate.check()
        with house.gate.place(8), pytest.raises(ApiError, match="about 32 s"):
            house.gate.check()
    house.gate.check()


async def test_an_outage_says_nothing_of_the_pace(house: House) -> None:
    """Even where clients that read slowly keep their places through it."""
    await house.arrive(SEATS + 5)
    await house.turn_over(ENOUGH, 1.0)
    os.kill(house.fleet.engines[0].pid, signal.SIGKILL)
    await until(lambda: not house.fleet.healthy)
    with pytest.raises(ApiError, match="being restarted"):
        house.gate.check()
    await until(lambda: house.fleet.healthy)
    house.now += 600
    assert house.fleet.waiting > 0
    house.gate.check()
    await house.turn_over(ENOUGH, 1.0)
