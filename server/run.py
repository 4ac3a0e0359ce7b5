"""From settings to a listening server and, in time, to a clean exit."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import asdict
from rich.console import Console

from engine.config import EngineConfig
from engine.errors import EngineError
from engine.fleet import EngineFleet
from engine.logs import FIELDS, configure_logging
from engine.messages import Ready
from models.errors import ModelError
from server.banner import banner
from server.settings import ServerSettings
from server.shutdown import StopSignals

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from models.tokenizer import Tokenizer
    from server.serving import Serving
    from server.tracing import Tracing

#: how long responses may take to leave once everything has been told to end, in seconds
FAREWELL_SECONDS = 5

logger = logging.getLogger("tidar.server")

T = TypeVar("T")


class StoppedError(Exception):
    """The operator asked to stop before the server was up."""


def run_server(config: EngineConfig, settings: ServerSettings) -> int:
    """Serve until told to stop. Returns the exit code: 0 after a stop, 1 where serving was not possible."""
    console = Console(stderr=True)
    configure_logging(settings.log_format)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(config, settings, console))
    except StoppedError:
        return 0
    except (EngineError, ModelError) as error:
        if settings.log_format == "json":
            logger.error("Cannot serve: %s", error)
        else:
            console.print(f"[bold red]Cannot serve:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    return 0


async def _serve(config: EngineConfig, settings: ServerSettings, console: Console) -> None:
    began = time.perf_counter()
    stop = StopSignals()
    stop.install()
    listener = _listener(settings)
    traces = _tracing(settings)
    engine, tokenizer = await _unless_stopped(_load(config), stop)
    if engine.ready.device == "cpu":
        _give_way_to_the_engine()
    try:
        app = _app(settings, engine, tokenizer, traces)
        server = _http_server(settings, app)
        serving = asyncio.create_task(server.serve(sockets=[listener] if listener else None))
        while not (server.started or serving.done()):
            await asyncio.sleep(0.005)
        address = f"unix:{settings.uds}" if listener is None else _url(settings, listener)
        _announce(console, settings, config, engine.ready, address, time.perf_counter() - began)
        await _first(serving, stop.asked.wait())
        await _finish_requests(app.state.serving, stop, console)
        server.should_exit = True
        await serving
        await app.state.serving.grammars.close()
    finally:
        await engine.close()
        if traces is not None:
            traces.close()


def _give_way_to_the_engine() -> None:
    """Do not interrupt whoever computes: a thread of the engine that is held up holds up all its others.

    See sched(7), SCHED_BATCH. What this process starts later, a new engine say, is scheduled as usual.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, os.sched_param(0))


async def _load(config: EngineConfig) -> tuple[EngineFleet, Tokenizer]:
    """The engine process, the tokenizer and the web framework, all at the same time."""
    starting = asyncio.ensure_future(EngineFleet.start(config))
    try:
        tokenizer = await asyncio.to_thread(_tokenizer, config.model)
        await asyncio.to_thread(importlib.import_module, "server.app")
        return await starting, tokenizer
    except BaseException:
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError, EngineError):
            await (await starting).close()
        raise


def _tokenizer(folder: str) -> Tokenizer:
    from models.tokenizer import Tokenizer

    return Tokenizer.from_folder(Path(folder))


def _tracing(settings: ServerSettings) -> Tracing | None:
    if settings.otlp_endpoint is None:
        return None
    from server.tracing import tracing

    return tracing(settings.otlp_endpoint, settings.model_names[0])


def _app(settings: ServerSettings, engine: EngineFleet, tokenizer: Tokenizer, traces: Tracing | None) -> FastAPI:
    from server.app import create_app

    return create_app(settings, engine, tokenizer, traces)


def _announce(
    console: Console, settings: ServerSettings, config: EngineConfig, ready: Ready, address: str, seconds: float
) -> None:
    """Say that the server is up: a panel for people, a line for machines."""
    if settings.log_format == "text":
        console.print(banner(settings, config, ready, address, seconds))
        return
    fields = {"model": settings.model_names[0], "address": address, "seconds": round(seconds, 3), **asdict(ready)}
    logger.info("TiDAR Serve is ready.", extra={FIELDS: fields})


def _http_server(settings: ServerSettings, app: FastAPI) -> uvicorn.Server:
    """Raises EngineError where the TLS files cannot be used."""
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves signals to us."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        app,
        uds=settings.uds,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        ssl_keyfile=settings.ssl_keyfile,
        ssl_certfile=settings.ssl_certfile,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=FAREWELL_SECONDS,
    )
    try:
        config.load()
    except OSError as error:
        raise EngineError(f"The TLS key and certificate cannot be used ({error}).") from None
    return Server(config)


async def _finish_requests(serving: Serving, stop: StopSignals, console: Console) -> None:
    """Let requests end until the shutdown timeout or until the operator asks again; then end them."""
    engine, timeout = serving.engine, serving.settings.shutdown_timeout
    if engine.in_flight:
        text = f"Stopping: {engine.in_flight} sequences in flight have {timeout:g} s to finish; Ctrl-C again ends them."
        if serving.settings.log_format == "json":
            logger.info("%s", text)
        else:
            console.print(text, highlight=False)
    await _first(asyncio.ensure_future(serving.gate.drain(timeout)), stop.urgent.wait())
    engine.abort_all()


async def _unless_stopped(work: Awaitable[T], stop: StopSignals) -> T:
    """The result of `work`; it is cancelled, and StoppedError raised, when the operator asks to stop."""
    working = asyncio.ensure_future(work)
    await _first(working, stop.asked.wait())
    if working.done():
        return working.result()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    raise StoppedError


async def _first(work: asyncio.Future[T], signal: Awaitable[object]) -> None:
    """Wait until `work` is done or `signal` comes."""
    waiting = asyncio.ensure_future(signal)
    await asyncio.wait((work, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _listener(settings: ServerSettings) -> socket.socket | None:
    """A bound socket, so that a taken port is known before the model is loaded; None where a Unix socket is wanted."""
    if settings.uds is not None:
        if not Path(settings.uds).absolute().parent.is_dir():
            raise EngineError(f"There is no folder for the Unix socket {settings.uds}.")
        return None
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _drop_the_vanished(listener, settings.client_timeout)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise EngineError(f"Port {settings.port} of {settings.host} cannot be used ({error.strerror}).") from None
    return listener


def _drop_the_vanished(listener: socket.socket, seconds: float) -> None:
    """Let the system end connections, which inherit this, whose peers are gone or read nothing for so long.

    The event loop cannot: to close a connection it first waits for what it has still to send.
    """
    if not seconds:
        return
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    whole = max(1, round(seconds))
    for name, value in (("TCP_KEEPIDLE", whole), ("TCP_KEEPINTVL", whole), ("TCP_KEEPCNT", 1)):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))


def _url(settings: ServerSettings, listener: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "https" if settings.ssl_certfile else "http"
    return f"{scheme}://{host}:{listener.getsockname()[1]}{settings.root_path}"


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop
