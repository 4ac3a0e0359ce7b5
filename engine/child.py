"""One life of the engine process, seen from the API process: start it, speak with it, notice its death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec
import zmq
import zmq.asyncio

from engine.config import EngineConfig
from engine.errors import EngineError
from engine.messages import Command, Event, Shutdown
from engine.process import command_address, event_address

#: how long a child may take to leave by itself, then after SIGTERM, in seconds
LEAVE_SECONDS = 2.0
#: how long a dead child's last words may take to arrive, in seconds
LAST_WORDS_SECONDS = 0.2


class EngineChild:
    """The child process and both sockets of the API's side. Not reusable after its death."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process, context: zmq.asyncio.Context) -> None:
        self._folder = folder
        self._process = process
        self._context = context
        # Commands leave through a plain socket, so that sending never waits; events arrive through an asyncio one.
        self._commands: zmq.Socket[bytes] = zmq.Socket(zmq.Context(context), zmq.PUSH)
        self._events = context.socket(zmq.PULL)
        for socket, address in ((self._commands, command_address(folder)), (self._events, event_address(folder))):
            socket.set_hwm(0)
            socket.linger = 0
            socket.bind(address)
        self._decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)
        self._encoder = msgspec.msgpack.Encoder()
        self._death = asyncio.create_task(process.wait())

    @classmethod
    async def spawn(cls, config: EngineConfig) -> EngineChild:
        """Start the process; it answers with Ready or Failed. Raises EngineError where no process can be started."""
        folder = Path(tempfile.mkdtemp(prefix="tidar-"))
        root = str(Path(__file__).resolve().parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "engine.process",
                str(folder),
                msgspec.json.encode(config).decode(),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                stdin=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise EngineError(f"The engine process could not be started ({error}).") from None
        return cls(folder, process, zmq.asyncio.Context())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def send(self, command: Command) -> None:
        """Hand over a command without waiting; what a dead child no longer takes is dropped."""
        with contextlib.suppress(zmq.Again):
            self._commands.send(self._encoder.encode(command), zmq.NOBLOCK)

    async def receive(self) -> Event | None:
        """The next event, or None once the process is dead and has nothing more to say."""
        arriving = asyncio.ensure_future(self._events.recv())
        try:
            await asyncio.wait((arriving, self._death), return_when=asyncio.FIRST_COMPLETED)
            if not arriving.done():
                await asyncio.wait((arriving,), timeout=LAST_WORDS_SECONDS)
            return self._decoder.decode(arriving.result()) if arriving.done() else None
        finally:
            arriving.cancel()

    async def close(self) -> None:
        """End the process, gently first, and remove what it used."""
        try:
            if not self._death.done():
                self.send(Shutdown())
                await self._leave()
        finally:
            self._commands.close(linger=0)
            self._events.close(linger=0)
            self._context.term()
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _leave(self) -> None:
        for urge in (self._process.terminate, self._process.kill):
            done, _ = await asyncio.wait((self._death,), timeout=LEAVE_SECONDS)
            if done:
                return
            with contextlib.suppress(ProcessLookupError):
                urge()
        await self._death
