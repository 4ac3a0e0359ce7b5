"""The engine in a process of its own: commands come in over one ZeroMQ socket, events go out over another.

Started by engine.client as `python -m engine.process FOLDER CONFIG`, where FOLDER is a private directory that holds
both ipc sockets and CONFIG is an EngineConfig as JSON.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import zmq

from engine.config import EngineConfig
from engine.errors import RequestError, sentence
from engine.logs import configure_logging
from engine.messages import Abort, Command, Event, Failed, Output, Outputs, Shutdown, Submit

if TYPE_CHECKING:
    from engine.engine import Engine

#: the longest an idle engine sleeps before it looks whether its parent still lives, in milliseconds
IDLE_MILLISECONDS = 500
STATS_SECONDS = 0.25
#: how often an idle engine says that it is there
BEAT_SECONDS = 1.0
#: the longest the last event may take to leave, in milliseconds
LINGER_MILLISECONDS = 2000

logger = logging.getLogger("tidar.engine")


def command_address(folder: Path) -> str:
    return f"ipc://{folder}/commands"


def event_address(folder: Path) -> str:
    return f"ipc://{folder}/events"


class Wire:
    """Both sockets of the engine's side, speaking engine.messages."""

    def __init__(self, folder: Path) -> None:
        self._context = zmq.Context()
        self._commands = self._context.socket(zmq.PULL)
        self._events = self._context.socket(zmq.PUSH)
        for socket in (self._commands, self._events):
            socket.set_hwm(0)
        self._events.linger = LINGER_MILLISECONDS
        self._commands.connect(command_address(folder))
        self._events.connect(event_address(folder))
        self._decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
        self._encoder = msgspec.msgpack.Encoder()

    def send(self, event: Event) -> None:
        self._events.send(self._encoder.encode(event))

    def receive(self, wait: bool) -> list[Command]:
        """Every command that has arrived; with `wait`, at least one unless IDLE_MILLISECONDS pass."""
        commands: list[Command] = []
        if wait and not self._commands.poll(IDLE_MILLISECONDS):
            return commands
        while True:
            try:
                commands.append(self._decoder.decode(self._commands.recv(zmq.NOBLOCK)))
            except zmq.Again:
                return commands

    def close(self) -> None:
        self._commands.close(linger=0)
        self._events.close()
        self._context.term()


def run_engine(config: EngineConfig, wire: Wire) -> int:
    """Load the engine, say Ready, and serve until Shutdown or the parent's death. Returns the exit code."""
    try:
        from engine.engine import Engine

        engine = Engine(config)
    except Exception as error:
        wire.send(Failed(sentence(error)))
        return 1
    wire.send(engine.ready())
    try:
        _serve(engine, wire)
    except Exception as error:
        logger.exception("The engine stopped.")
        wire.send(Failed(sentence(error)))
        return 1
    finally:
        engine.close()
    return 0


def _serve(engine: Engine, wire: Wire) -> None:
    parent = os.getppid()
    published = 0.0
    while True:
        for command in wire.receive(wait=not engine.has_work):
            if isinstance(command, Shutdown):
                return
            _obey(engine, command, wire)
        if os.getppid() != parent:
            return
        engine.check_whole()
        worked = engine.has_work
        if worked and (outputs := engine.step()):
            wire.send(Outputs(outputs))
        now = time.monotonic()
        if now - published >= (STATS_SECONDS if worked else BEAT_SECONDS) or (worked and not engine.has_work):
            wire.send(engine.stats())
            published = now


def _obey(engine: Engine, command: Submit | Abort, wire: Wire) -> None:
    if isinstance(command, Abort):
        engine.abort(command.request_ids)
        return
    try:
        engine.submit(command)
    except RequestError as error:
        refusal = Output(
            request_id=command.request_id,
            token_ids=[],
            finish_reason="error",
            error=str(error),
            error_param=error.param or "prompt",
        )
        wire.send(Outputs([refusal]))


def main(arguments: list[str]) -> int:
    """Entry of the child process."""
    # Ctrl-C reaches the whole process group; when to stop is the API process's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wire = Wire(Path(arguments[0]))
    try:
        config = msgspec.json.decode(arguments[1], type=EngineConfig)
        configure_logging(config.log_format)
        return run_engine(config, wire)
    finally:
        wire.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
