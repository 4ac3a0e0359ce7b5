"""TiDAR Serve on Ray Serve: each replica is the whole server with engines of its own, and Ray adds and removes them.

    serve run deploy.ray_serve:build model=org/model min_replicas=1 max_replicas=8

The number of replicas follows the requests that are running or waiting. Needs the `ray` extra.
"""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from ray import serve
from ray.serve.config import AutoscalingConfig

from engine.config import EngineConfig
from models.sources import resolve
from server.cli.model import model_names, model_path
from server.embedded import EmbeddedServer, embedded_settings
from server.settings import ServerSettings

#: beyond the drain: what an engine may take to leave, in seconds
LEAVE_SECONDS = 10.0


class Arguments(BaseModel):
    """What `serve run` takes as name=value, and a config file under `args`.

    `engine` and `server` hold fields of EngineConfig and ServerSettings. Each replica gets `num_cpus`, and as many GPUs
    as its engines have ranks in all where `gpus` is set. There is another replica when those that are there have more
    than `target_ongoing_requests` each on average; one takes up to `max_ongoing_requests` at once, the rest waits at
    the proxy.
    """

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    served_model_name: str | None = None
    engine: dict[str, Any] = Field(default_factory=dict)
    server: dict[str, Any] = Field(default_factory=dict)
    gpus: bool = False
    num_cpus: PositiveFloat = 2.0
    min_replicas: int = Field(1, ge=0)
    max_replicas: PositiveInt = 4
    target_ongoing_requests: PositiveFloat = 32.0
    max_ongoing_requests: PositiveInt = 256
    upscale_delay_s: float = Field(10.0, ge=0)
    downscale_delay_s: float = Field(600.0, ge=0)


def build(arguments: Arguments) -> serve.Application:
    """The application that `serve run` and `serve deploy` start. Raises EngineError for settings that cannot be."""
    names = [arguments.served_model_name] if arguments.served_model_name is not None else None
    fields = {"threads": max(1, int(arguments.num_cpus)), **arguments.engine, "model": arguments.model or ""}
    config = msgspec.convert(fields, EngineConfig)
    config.check()
    settings = embedded_settings(model_names(arguments.model, names), arguments.server)
    return _deployment(config, settings, arguments).bind()


def _deployment(config: EngineConfig, settings: ServerSettings, arguments: Arguments) -> serve.Deployment:
    def server() -> EmbeddedServer:
        # on the replica's own machine, whose model cache may be another
        folder = model_path(None, "serve") if arguments.model is None else resolve(arguments.model)
        return EmbeddedServer(msgspec.structs.replace(config, model=str(folder)), settings)

    @serve.deployment(
        name="tidar",
        max_ongoing_requests=arguments.max_ongoing_requests,
        autoscaling_config=AutoscalingConfig(
            min_replicas=arguments.min_replicas,
            max_replicas=arguments.max_replicas,
            target_ongoing_requests=arguments.target_ongoing_requests,
            upscale_delay_s=arguments.upscale_delay_s,
            downscale_delay_s=arguments.downscale_delay_s,
        ),
        graceful_shutdown_timeout_s=settings.shutdown_timeout + LEAVE_SECONDS,
        ray_actor_options={
            "num_cpus": arguments.num_cpus,
            "num_gpus": config.data_parallel_size * config.tensor_parallel_size if arguments.gpus else 0,
        },
    )
    @serve.ingress(server)
    class Replica:
        """One server; Ray's base class runs its lifespan and hands it requests."""

        def check_health(self) -> None:
            """Ray replaces a replica that fails three times in a row: longer than an engine's restart takes."""
            if not self.app.healthy:  # type: ignore[attr-defined]
                raise RuntimeError("No engine of this replica is up.")

    return Replica
