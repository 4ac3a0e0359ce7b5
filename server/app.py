"""The application: routes, middleware and error handlers around one engine."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from engine.fleet import EngineFleet
from models.tokenizer import Tokenizer
from server.access_log import AccessLog
from server.errors import install_error_handlers
from server.exchange import Exchange
from server.middleware.auth import ApiKeys
from server.middleware.body_limit import BodyLimit
from server.middleware.door import Door
from server.middleware.exchanges import Exchanges
from server.middleware.failures import Failures
from server.middleware.request_id import RequestId
from server.protocol.errors import FAILURES
from server.routes import chat, completions, health, models, responses, tokenize, web
from server.serving import Serving
from server.settings import VERSION, ServerSettings
from server.tracing import Tracing


def create_app(
    settings: ServerSettings, engine: EngineFleet, tokenizer: Tokenizer, tracing: Tracing | None = None
) -> FastAPI:
    """The HTTP application over a loaded engine; `app.state.serving` is what its routes share."""
    app = FastAPI(
        title="TiDAR Serve",
        version=VERSION,
        description="OpenAI-compatible inference with several exact tokens per forward.",
        root_path=settings.root_path,
        redirect_slashes=False,
        responses=FAILURES,
    )
    app.state.serving = Serving(settings, engine, tokenizer)
    for routes in (completions, chat, responses, models, tokenize, health):
        app.include_router(routes.router)
    if settings.web:
        app.include_router(web.web_router())
    install_error_handlers(app)
    # The last one added is the first to see a request.
    app.add_middleware(Door, gate=app.state.serving.gate)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    if settings.api_keys:
        app.add_middleware(ApiKeys, keys=settings.api_keys, also_open=web.page_files() if settings.web else ())
    app.add_middleware(Failures)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "X-Tidar-Ignored-Fields", "Retry-After"],
        )
    app.add_middleware(RequestId)
    app.add_middleware(Exchanges, sinks=_sinks(settings, app.state.serving, tracing))
    return app


def _sinks(settings: ServerSettings, serving: Serving, tracing: Tracing | None) -> list[Callable[[Exchange], None]]:
    """Who is told of every request that is over; traces come first, so that the log can name them."""
    sinks: list[Callable[[Exchange], None]] = [serving.metrics.count]
    if tracing is not None:
        sinks.append(tracing)
    if settings.access_log:
        sinks.append(AccessLog(serving.model_name))
    return sinks
