"""The application: routes, middleware and error handlers around one engine."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from engine.fleet import EngineFleet
from models.tokenizer import Tokenizer
from server.errors import install_error_handlers
from server.middleware.auth import ApiKeys
from server.middleware.body_limit import BodyLimit
from server.middleware.request_id import RequestId
from server.protocol.errors import FAILURES
from server.routes import chat, completions, health, models, responses, tokenize
from server.serving import Serving
from server.settings import VERSION, ServerSettings


def create_app(settings: ServerSettings, engine: EngineFleet, tokenizer: Tokenizer) -> FastAPI:
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
    install_error_handlers(app)
    # The last one added is the first to see a request.
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    if settings.api_keys:
        app.add_middleware(ApiKeys, keys=settings.api_keys)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "X-Tidar-Ignored-Fields", "Retry-After"],
        )
    app.add_middleware(RequestId)
    return app
