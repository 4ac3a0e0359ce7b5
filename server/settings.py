"""How the server serves; what the engine does is engine.config's."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.logs import LogFormat

VERSION = "0.1.0"


@dataclass(frozen=True)
class Pacing:
    """How a stream's tokens leave: at least `interval` in a chunk, and spread over time with `smooth`."""

    interval: int = 1
    smooth: bool = False


@dataclass(frozen=True)
class StreamTimes:
    """Seconds: the longest silence of a stream, and how long a client may take to read what waits for it (0: ever)."""

    keep_alive: float = 15.0
    client_timeout: float = 60.0


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of the HTTP side. Times are seconds, sizes bytes.

    `model_names` are the names clients may ask for, the first being the one that is listed; `root_path` is the prefix a
    proxy strips; `stream_interval` the least number of tokens in a chunk after the first. With `stream_smoothing` a
    step's tokens leave one by one over the time that the next step is expected to take. `max_stored_responses` is how
    many answers of /v1/responses are kept. Who would wait longer than `max_queue_seconds` for its first forward is sent
    away (0: nobody). Without `tool_call_parser` the chat template tells the format of tool calls,
    which `auto_tool_choice` lets the model use on its own choice. `web` shows the page at /.
    `otlp_endpoint` is the collector that traces go to.
    """

    model_names: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    uds: str | None = None
    root_path: str = ""
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 16 * 2**20
    keep_alive: float = 15.0
    client_timeout: float = 60.0
    stream_interval: int = 1
    stream_smoothing: bool = False
    max_stored_responses: int = 1000
    max_queue_seconds: float = 30.0
    shutdown_timeout: float = 30.0
    trust_request_chat_template: bool = False
    access_log: bool = False
    log_format: LogFormat = "text"
    otlp_endpoint: str | None = None
    tool_call_parser: str | None = None
    auto_tool_choice: bool = True
    reasoning_parser: str | None = None
    web: bool = True

    @property
    def pacing(self) -> Pacing:
        return Pacing(self.stream_interval, self.stream_smoothing)

    @property
    def stream_times(self) -> StreamTimes:
        return StreamTimes(self.keep_alive, self.client_timeout)
