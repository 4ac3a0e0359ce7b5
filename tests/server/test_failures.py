"""What nobody expected: the application with a route that breaks, asked as a browser's page would."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from engine.config import EngineConfig
from engine.fleet import EngineFleet
from models.tokenizer import Tokenizer
from server.app import create_app
from server.settings import ServerSettings
from tests.server.test_errors import error_of

ORIGIN = "https://app.example"
ASKED = {"Origin": ORIGIN, "X-Request-Id": "broken-1"}


@pytest.fixture
async def app(served_model: Path, tokenizer: Tokenizer) -> AsyncIterator[FastAPI]:
    fleet = await EngineFleet.start(EngineConfig(model=str(served_model), dtype="float64", threads=1))
    app = create_app(ServerSettings(model_names=("tiny",), allowed_origins=(ORIGIN,)), fleet, tokenizer)

    @app.get("/broken")
    async def broken() -> None:
        raise KeyError("secret")

    @app.get("/broken-off")
    async def broken_off() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one"
            raise KeyError("secret")

        return StreamingResponse(pieces())

    yield app
    await fleet.close()


async def test_an_unexpected_failure_is_a_500_that_a_page_may_read_and_a_log_tells(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", headers=ASKED) as client:
        answer = await client.get("/broken")
        assert error_of(answer, 500)["code"] == "internal_error"
        assert "secret" not in answer.text
        assert answer.headers["x-request-id"] == "broken-1"
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        metrics = (await client.get("/metrics")).text
        counted = [line.rpartition(" ")[2] for line in metrics.splitlines() if 'kind="internal_error"' in line]
        assert [float(count) for count in counted] == [1.0]
        assert any('handler="/broken"' in line and 'status="500"' in line for line in metrics.splitlines())
        record = next(record for record in caplog.records if record.name == "tidar.server")
        assert record.levelno == logging.ERROR
        assert record.exc_info is not None and isinstance(record.exc_info[1], KeyError)
        assert record.__dict__["fields"] == {"request_id": "broken-1"}
        with pytest.raises(KeyError):
            await client.get("/broken-off")
