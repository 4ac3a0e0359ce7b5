"""GET /health, /health/ready, /load and /metrics: what operators and their machines look at."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from server.errors import unavailable
from server.protocol.models import Health, Load
from server.serving import Serving

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter(tags=["operations"])


@router.get("/health")
async def health(request: Request) -> Health:
    """200 while the server and at least one engine process are up, 503 while there is no engine."""
    if not Serving.of(request).engine.healthy:
        raise unavailable("The engine process is down; another is being started.", "engine_down", 2)
    return Health(status="ok")


@router.get("/health/ready")
async def ready(request: Request) -> Health:
    """200 when new requests would be answered: not draining, and an engine has just run a forward or does so now."""
    serving = Serving.of(request)
    if serving.gate.draining:
        raise unavailable("The server is shutting down.", "shutting_down")
    if not await serving.readiness.serves():
        raise unavailable("The engine does not answer.", "engine_down", 2)
    return Health(status="ok")


@router.get("/load")
async def load(request: Request) -> Load:
    """Sequences in flight."""
    return Load(server_load=Serving.of(request).engine.in_flight)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus metrics."""
    return Response(Serving.of(request).exposition.text(), headers={"Content-Type": METRICS_TYPE})
