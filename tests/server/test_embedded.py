"""The embedded server as its host sees it: ASGI messages, without a socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.config import EngineConfig
from engine.errors import EngineError
from server.embedded import EmbeddedServer, embedded_settings
from tests.server.collector import Collector, attributes

NAMES = ("tiny-tidar",)
LONG = {"prompt": "x", "max_tokens": 240, "ignore_eos": True, "n": 8}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TIDAR_API_KEY", "TIDAR_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_keys_are_the_environments_unless_they_are_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert embedded_settings(NAMES, {}).api_keys == ()
    (tmp_path / "keys").write_text("# of today\nthree\n")
    monkeypatch.setenv("TIDAR_API_KEY", "one two")
    monkeypatch.setenv("TIDAR_API_KEY_FILE", str(tmp_path / "keys"))
    assert embedded_settings(NAMES, {"stream_interval": 2}).api_keys == ("one", "two", "three")
    assert embedded_settings(NAMES, {"api_keys": ["mine"]}).api_keys == ("mine",)


def test_a_file_of_keys_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIDAR_API_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(EngineError, match="cannot be read"):
        embedded_settings(NAMES, {})


class Host:
    """Runs the lifespan of an application, and asks it."""

    def __init__(self, app: EmbeddedServer) -> None:
        self._app = app
        self._to: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from: asyncio.Queue[Any] = asyncio.Queue()
        self._life = asyncio.create_task(app({"type": "lifespan"}, self._to.get, self._from.put))

    async def tell(self, event: str) -> None:
        await self._to.put({"type": f"lifespan.{event}"})
        assert (await self._from.get())["type"] == f"lifespan.{event}.complete"

    async def ask(self, body: dict[str, Any], key: str | None = "secret") -> int:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://here") as client:
            return (await client.post("/v1/completions", json=body, headers=headers, timeout=60)).status_code


def test_it_wants_its_key_and_turns_away_who_comes_while_it_drains(
    served_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDAR_API_KEY", "secret")
    app = EmbeddedServer(
        EngineConfig(model=str(served_model), dtype="float64", decoding="tidar", threads=1),
        embedded_settings(NAMES, {}),
    )

    async def life() -> tuple[int, int, int]:
        host = Host(app)
        await host.tell("startup")
        assert app.healthy
        without_key = await host.ask(LONG, key=None)
        long = asyncio.create_task(host.ask(LONG))
        await asyncio.sleep(0.1)
        leaving = asyncio.create_task(host.tell("shutdown"))
        await asyncio.sleep(0.01)
        assert not leaving.done(), "the long request holds it open"
        late = await host.ask({"prompt": "x", "max_tokens": 1})
        await leaving
        assert not app.healthy
        return without_key, await long, late

    assert asyncio.run(life()) == (401, 200, 503)


def test_its_traces_reach_the_collector_by_its_end(served_model: Path) -> None:
    async def life(url: str) -> None:
        config = EngineConfig(model=str(served_model), dtype="float64", decoding="tidar", threads=1)
        host = Host(EmbeddedServer(config, embedded_settings(NAMES, {"otlp_endpoint": url})))
        await host.tell("startup")
        assert await host.ask({"prompt": "x", "max_tokens": 4, "ignore_eos": True}) == 200
        await host.tell("shutdown")

    with Collector() as collector:
        asyncio.run(life(collector.url))
        span = collector.named("POST /v1/completions")[0]
    assert attributes(list(span.attributes))["gen_ai.usage.output_tokens"] == 4
