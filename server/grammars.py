"""The door for grammars: each is compiled once in a process of its own, which may hang or crash without harm."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from typing import NamedTuple

import msgspec

from engine.child import python_environment
from engine.config import EngineConfig
from engine.grammar.checking import FRAME_BYTES, frame
from engine.messages import Ready
from engine.params import Grammar
from server.errors import bad_request, unavailable

#: seconds a grammar may take to compile
PATIENCE = 5.0
#: seconds the process may take to start and read the tokenizer
START_PATIENCE = 60.0
#: verdicts that are remembered, by digest
REMEMBERED = 1024
#: seconds for which a grammar that ran out of time is not tried again; a machine may just have been busy
RETRY_SECONDS = 60.0
#: seconds a grammar may wait for its turn
TURN_PATIENCE = 30.0

#: what a process that is gone shows as; the last is uvloop's word for it
GONE = (asyncio.IncompleteReadError, ConnectionError, RuntimeError)
TOO_COMPLEX = f"The grammar takes longer than {PATIENCE:.0f} s or too much memory to compile; simplify it."


class Verdict(NamedTuple):
    """What is wrong with a grammar, or nothing, and until when (monotonic, in seconds) that stands."""

    message: str
    until: float = float("inf")


class GrammarDoor:
    """Says whether a grammar can be used, and remembers the answer. One per server."""

    def __init__(self, config: EngineConfig, ready: Ready) -> None:
        eos = ",".join(map(str, ready.eos_token_ids))
        self._command = ("-m", "engine.grammar.checking", config.model, str(ready.vocab_size), eos)
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._verdicts: OrderedDict[bytes, Verdict] = OrderedDict()

    async def check(self, grammar: Grammar, param: str) -> None:
        """Raises a 400 that names `param` for a grammar that is wrong or too complex, a 503 after too long a wait."""
        try:
            request = msgspec.msgpack.encode(grammar)
        except UnicodeEncodeError:
            raise bad_request("The grammar has half a surrogate pair in it.", param) from None
        digest = hashlib.sha256(request).digest()
        verdict = self._known(digest) or await self._judge(digest, request)
        if verdict.message:
            raise bad_request(verdict.message, param)

    async def close(self) -> None:
        """End the process."""
        if self._process is not None:
            process, self._process = self._process, None
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _known(self, digest: bytes) -> Verdict | None:
        verdict = self._verdicts.get(digest)
        if verdict is None or time.monotonic() > verdict.until:
            return None
        self._verdicts.move_to_end(digest)
        return verdict

    async def _judge(self, digest: bytes, request: bytes) -> Verdict:
        try:
            await asyncio.wait_for(self._turn.acquire(), TURN_PATIENCE)
        except TimeoutError:
            raise unavailable("Too many new grammars are waiting to be compiled; try again.", "grammars_busy") from None
        try:
            verdict = self._known(digest)
            if verdict is None:
                verdict = self._verdicts[digest] = await self._ask(request)
                self._verdicts.move_to_end(digest)
        finally:
            self._turn.release()
        while len(self._verdicts) > REMEMBERED:
            self._verdicts.popitem(last=False)
        return verdict

    async def _ask(self, request: bytes) -> Verdict:
        """The process's verdict. A process that is cut off in the middle of one is of no use any more.

        One that is gone may have ended before this grammar came, so the grammar is tried once more.
        """
        for _ in range(2):
            if self._process is None:
                self._process = await self._start()
            try:
                return Verdict((await asyncio.wait_for(_exchange(self._process, request), PATIENCE)).decode())
            except GONE:
                await self.close()
            except TimeoutError:
                await self.close()
                break
            except BaseException:
                await self.close()
                raise
        return Verdict(TOO_COMPLEX, time.monotonic() + RETRY_SECONDS)

    async def _start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *self._command, stdin=PIPE, stdout=PIPE, env=python_environment()
        )
        # The first question makes it read the tokenizer, which is no grammar's fault.
        try:
            await asyncio.wait_for(_exchange(process, msgspec.msgpack.encode(Grammar("regex", "x"))), START_PATIENCE)
        except (TimeoutError, *GONE):
            process.kill()
            await process.wait()
            raise unavailable(
                "The process that compiles grammars does not start; try again.", "grammars_busy"
            ) from None
        except BaseException:
            process.kill()
            raise
        return process


async def _exchange(process: Process, request: bytes) -> bytes:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(frame(request))
    await process.stdin.drain()
    header = await process.stdout.readexactly(FRAME_BYTES)
    return await process.stdout.readexactly(int.from_bytes(header, "big"))
