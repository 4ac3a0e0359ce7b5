"""What every route needs, in one place: the engine, the tokenizer, the settings and the figures."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from fastapi import Request

from engine.fleet import EngineFleet
from models.tokenizer import Tokenizer
from server.errors import ApiError
from server.exchange import Exchange
from server.exposition import Exposition
from server.formats import Formats
from server.gate import Gate
from server.generation import Generation, Job
from server.grammars import GrammarDoor
from server.metrics import ServerMetrics
from server.probe import Readiness
from server.protocol.sampling import SamplingRequest
from server.responses.store import ResponseStore
from server.settings import ServerSettings

NOT_FOR_HEADERS = re.compile(r"[^!-~]")
IGNORED_FIELDS_HEADER = "X-Tidar-Ignored-Fields"


@dataclass
class Serving:
    """One model being served. Made once by the application and found on `request.app.state`."""

    settings: ServerSettings
    engine: EngineFleet
    tokenizer: Tokenizer
    started: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.formats = Formats.of(self.settings, self.tokenizer)
        self.metrics = ServerMetrics()
        self.gate = Gate(self.engine, self.metrics, self.settings.max_queue_seconds)
        self.grammars = GrammarDoor(self.engine.config, self.engine.ready)
        self.readiness = Readiness(self.engine)
        self.responses = ResponseStore(self.settings.max_stored_responses)
        self.exposition = Exposition(self.engine, self.metrics, self.model_name)

    @classmethod
    def of(cls, request: Request) -> Serving:
        serving = request.app.state.serving
        assert isinstance(serving, cls)
        return serving

    @property
    def model_name(self) -> str:
        return self.settings.model_names[0]

    def check_model(self, name: str | None) -> str:
        """The name to answer with. Raises a 404 for a model that is not served here."""
        if name is None:
            return self.model_name
        if name not in self.settings.model_names:
            raise ApiError(
                404,
                f"The model {name!r} is not served here; {self.model_name!r} is.",
                param="model",
                code="model_not_found",
            )
        return name

    def generate(self, job: Job, exchange: Exchange) -> Generation:
        """Make a job that has its places ready to run. Raises a 503 where it has to go elsewhere by now."""
        self.gate.check_open()
        exchange.generation = Generation(job, self.engine, self.tokenizer, self.metrics)
        return exchange.generation


def request_id(body: SamplingRequest, request: Request) -> str:
    """The body's own id, or the one in X-Request-Id."""
    return body.request_id or str(request.state.request_id)


def ignored_fields(body: SamplingRequest) -> dict[str, str]:
    """A header that names the request's fields nobody here knows."""
    unknown = [NOT_FOR_HEADERS.sub("?", name) for name in sorted(body.model_extra or {})]
    return {IGNORED_FIELDS_HEADER: ", ".join(unknown)[:1024]} if unknown else {}
