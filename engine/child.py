"""One life of the engine process, seen from the API process: start it, speak with it, notice its death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import zmq

from engine.config import EngineConfig
from engine.errors import EngineError
from engine.messages import Command, EngineStats, Event, Failed, Outputs, Ready, Shutdown
from engine.process import command_address, event_address

#: how long a child may take to leave by itself, then after SIGTERM, in seconds
LEAVE_SECONDS = 2.0
#: how long a dead child's last words may take to arrive, in seconds
LAST_WORDS_SECONDS = 0.05

Listener = Callable[[Outputs | EngineStats], None]


def python_environment() -> dict[str, str]:
    """The environment for a child that has to find this very code."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


class EngineChild:
    """The child process and both sockets of the API's side; `listener` hears what it says once it is ready.

    Sockets are read whenever the loop finds them readable, without a task or future per message: at one message per
    engine step that is what keeps the API process light. Not reusable after the child's death.
    """

    def __init__(self, folder: Path, process: asyncio.subprocess.Process, listener: Listener) -> None:
        self._folder = folder
        self._process = process
        self._listener = listener
        self._context = zmq.Context()
        self._commands = self._bind(zmq.PUSH, command_address(folder))
        self._events = self._bind(zmq.PULL, event_address(folder))
        self._decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)
        self._encoder = msgspec.msgpack.Encoder()
        self._failure: str | None = None
        self._ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._death = asyncio.create_task(process.wait())
        asyncio.get_running_loop().add_reader(self._events.fileno(), self._read)

    @classmethod
    async def spawn(
        cls, config: EngineConfig, listener: Listener, environment: Mapping[str, str] | None = None
    ) -> EngineChild:
        """Start the process, with `environment` beside this one's. Raises EngineError where none can be started."""
        folder = Path(tempfile.mkdtemp(prefix="tidar-"))
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "engine.process",
                str(folder),
                msgspec.json.encode(config).decode(),
                env={**python_environment(), **(environment or {})},
                stdin=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise EngineError(f"The engine process could not be started ({error}).") from None
        return cls(folder, process, listener)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ready(self) -> Ready:
        """Wait until the engine has loaded. Raises EngineError with its own sentence where it cannot."""
        await asyncio.wait((self._ready, self._death), return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            raise EngineError(await self.end())
        return self._ready.result()

    async def end(self) -> str:
        """Wait for the child's death and say what was behind it."""
        await asyncio.wait((self._death,))
        await asyncio.sleep(LAST_WORDS_SECONDS)
        self._read()
        return self._failure or f"The engine process ended with exit code {self._process.returncode}."

    def send(self, command: Command) -> None:
        """Hand over a command without waiting; what a dead child no longer takes is dropped."""
        with contextlib.suppress(zmq.Again):
            self._commands.send(self._encoder.encode(command), zmq.NOBLOCK)

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        """End the process, gently first, and remove what it used. May be called again."""
        try:
            if not self._death.done():
                self.send(Shutdown())
                await self._leave()
        finally:
            if not self._events.closed:
                asyncio.get_running_loop().remove_reader(self._events.fileno())
            self._context.destroy(linger=0)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _bind(self, kind: int, address: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set_hwm(0)
        socket.bind(address)
        return socket

    def _read(self) -> None:
        """Take every message that has arrived: ZeroMQ announces only the first of those that are waiting."""
        while not self._events.closed:
            try:
                event = self._decoder.decode(self._events.recv(zmq.NOBLOCK))
            except zmq.Again:
                return
            if isinstance(event, Ready):
                self._ready.set_result(event)
            elif isinstance(event, Failed):
                self._failure = event.message
            else:
                self._listener(event)

    async def _leave(self) -> None:
        for urge in (self._process.terminate, self._process.kill):
            done, _ = await asyncio.wait((self._death,), timeout=LEAVE_SECONDS)
            if done:
                return
            with contextlib.suppress(ProcessLookupError):
                urge()
        await asyncio.wait((self._death,))
