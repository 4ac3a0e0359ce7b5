"""The whole server as one ASGI application, for whoever brings the HTTP side and the processes: Ray Serve, say."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from engine.config import EngineConfig
from engine.errors import EngineError
from models.errors import ModelError
from server.cli.keys import api_keys
from server.settings import ServerSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from server.serving import Serving
    from server.tracing import Tracing

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def embedded_settings(model_names: tuple[str, ...], fields: dict[str, Any]) -> ServerSettings:
    """Settings of these `fields`; API keys that they leave out are the environment's, as for `tidar serve`.

    Raises EngineError for a file of keys that holds none.
    """
    file = os.environ.get("TIDAR_API_KEY_FILE")
    if "api_keys" in fields:
        keys = tuple(fields["api_keys"])
    else:
        try:
            keys = api_keys(os.environ.get("TIDAR_API_KEY", "").split(), Path(file) if file else None)
        except typer.BadParameter as error:
            raise EngineError(error.message) from None
    return ServerSettings(**{"model_names": model_names, **fields, "api_keys": keys})


class EmbeddedServer:
    """Loads the model at ASGI's lifespan.startup; lifespan.shutdown drains it and ends its engines.

    A model that cannot be served fails the startup with the engine's own sentence, and so does an `otlp_endpoint`
    without OpenTelemetry. Of `settings`, those of the listener (address, TLS) mean nothing here.
    """

    def __init__(self, config: EngineConfig, settings: ServerSettings) -> None:
        self.config = config
        self.settings = settings
        self._app: FastAPI | None = None
        self._traces: Tracing | None = None

    @property
    def healthy(self) -> bool:
        """Whether an engine is up and loaded."""
        return self._app is not None and self._serving(self._app).engine.healthy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            assert self._app is not None, "a request came before the startup"
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            event = (await receive())["type"]
            try:
                await (self._start() if event == "lifespan.startup" else self._stop())
            except (EngineError, ModelError) as error:
                await send({"type": f"{event}.failed", "message": str(error)})
                return
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return

    async def _start(self) -> None:
        from engine.fleet import EngineFleet
        from models.tokenizer import Tokenizer
        from server.app import create_app

        if self.settings.otlp_endpoint is not None:
            from server.tracing import tracing

            self._traces = tracing(self.settings.otlp_endpoint, self.settings.model_names[0])
        tokenizer = await asyncio.to_thread(Tokenizer.from_folder, Path(self.config.model))
        self._app = create_app(self.settings, await EngineFleet.start(self.config), tokenizer, self._traces)

    async def _stop(self) -> None:
        if self._app is not None:
            # requests that still come are turned away by the gate
            serving = self._serving(self._app)
            await serving.gate.drain(self.settings.shutdown_timeout)
            await serving.grammars.close()
            await serving.engine.close()
            self._app = None
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)
            self._traces = None

    @staticmethod
    def _serving(app: FastAPI) -> Serving:
        serving: Serving = app.state.serving
        return serving
