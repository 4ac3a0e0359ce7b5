"""The whole server as one ASGI application, for whoever brings the HTTP side and the processes: Ray Serve, say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from engine.config import EngineConfig
from engine.errors import EngineError
from models.errors import ModelError
from server.settings import ServerSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from server.serving import Serving

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class EmbeddedServer:
    """Loads the model at ASGI's lifespan.startup; lifespan.shutdown drains it and ends its engines.

    A model that cannot be served fails the startup with the engine's own sentence. Of `settings`, those of the
    listener (address, TLS) mean nothing here.
    """

    def __init__(self, config: EngineConfig, settings: ServerSettings) -> None:
        self.config = config
        self.settings = settings
        self._app: FastAPI | None = None

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
        from pathlib import Path

        from engine.fleet import EngineFleet
        from models.tokenizer import Tokenizer
        from server.app import create_app

        tokenizer = await asyncio.to_thread(Tokenizer.from_folder, Path(self.config.model))
        self._app = create_app(self.settings, await EngineFleet.start(self.config), tokenizer)

    async def _stop(self) -> None:
        if self._app is not None:
            app, self._app = self._app, None
            serving = self._serving(app)
            await serving.gate.drain(self.settings.shutdown_timeout)
            await serving.grammars.close()
            await serving.engine.close()

    @staticmethod
    def _serving(app: FastAPI) -> Serving:
        serving: Serving = app.state.serving
        return serving
