"""The engine process through its client: what is asked, what is aborted, and what survives a death."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.client import EngineClient
from engine.config import EngineConfig
from engine.errors import EngineError
from engine.messages import Output, Submit
from engine.params import SamplingParams


@pytest.fixture
async def client(served_model: Path) -> AsyncIterator[EngineClient]:
    started = await EngineClient.start(EngineConfig(model=str(served_model), dtype="float64", threads=1))
    yield started
    await started.close()


def ask(name: str, max_tokens: int = 20, prompt: tuple[int, ...] = (5, 6, 7)) -> Submit:
    params = SamplingParams(temperature=100.0, seed=1, max_tokens=max_tokens, ignore_eos=True)
    return Submit(request_id=name, prompt_token_ids=list(prompt), params=params)


async def read(client: EngineClient, submit: Submit) -> list[Output]:
    return [output async for output in client.generate(submit)]


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_sequence_streams_ends_leaves_early_and_is_refused(client: EngineClient) -> None:
    outputs = await read(client, ask("whole"))
    assert sum(len(output.token_ids) for output in outputs) == 20
    assert [output.finish_reason for output in outputs] == [None] * (len(outputs) - 1) + ["length"]
    assert outputs[-1].times is not None
    assert outputs[-1].steps is not None

    async with aclosing(client.generate(ask("early", 240))) as early:
        await anext(early)
        assert client.in_flight == 1
    assert client.in_flight == 0
    await until(lambda: client.stats.running == 0 and client.stats.pages_used == 0)

    refused = await read(client, ask("long", prompt=(5,) * 300))
    assert [output.finish_reason for output in refused] == ["error"]
    assert refused[0].error_param == "prompt"


async def test_an_abort_is_answered_with_a_last_output(client: EngineClient) -> None:
    async with aclosing(client.generate(ask("aborted", 240))) as outputs:
        await anext(outputs)
        client.abort(["aborted", "unknown"])
        rest = [output async for output in outputs]
    assert rest[-1].finish_reason == "abort"
    assert sum(len(output.token_ids) for output in rest) < 200


async def test_a_death_is_told_to_every_sequence_and_survived(client: EngineClient) -> None:
    readers = [asyncio.create_task(read(client, ask(f"lost-{i}", 240))) for i in range(5)]
    await until(lambda: client.stats.running > 0)
    os.kill(client.pid, signal.SIGKILL)
    for outputs in await asyncio.gather(*readers):
        assert outputs[-1].finish_reason == "error"
        assert outputs[-1].error == "The engine process died; the request was lost, send it again."
    assert not client.healthy
    assert (await read(client, ask("too soon")))[0].finish_reason == "error"
    await until(lambda: client.healthy, 60)
    assert client.restarts == 1
    assert (await read(client, ask("again")))[-1].finish_reason == "length"


async def test_closing_ends_the_process_and_what_is_in_flight(served_model: Path) -> None:
    client = await EngineClient.start(EngineConfig(model=str(served_model), threads=1))
    pid = client.pid
    reader = asyncio.create_task(read(client, ask("open", 240)))
    await until(lambda: client.in_flight == 1)
    await client.close()
    assert (await reader)[-1].finish_reason in ("error", "length")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_closing_while_an_engine_is_being_restarted(served_model: Path) -> None:
    client = await EngineClient.start(EngineConfig(model=str(served_model), threads=1))
    os.kill(client.pid, signal.SIGKILL)
    await until(lambda: not client.healthy)
    await asyncio.sleep(0.5)
    await asyncio.wait_for(client.close(), 10)


async def test_an_engine_that_cannot_load_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nowhere"):
        await EngineClient.start(EngineConfig(model=str(tmp_path / "nowhere")))


async def test_settings_that_cannot_work_never_start_a_process(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="--draft-length"):
        await EngineClient.start(EngineConfig(model=str(tmp_path), draft_length=0))
