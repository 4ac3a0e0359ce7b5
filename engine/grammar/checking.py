"""Compiles grammars of strangers in a process that may hang, crash or be killed, unlike the engine's.

Started by the server as `python -m engine.grammar.checking FOLDER VOCAB_SIZE EOS_IDS`. A request on standard input is
four bytes of length and a Grammar as msgpack; the answer on standard output has the same frame and is the sentence that
says what is wrong with it, or nothing.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import msgspec

from engine.errors import RequestError
from engine.grammar.compiler import GrammarCompiler
from engine.grammar.waiting import STACK_BYTES
from engine.params import Grammar

#: a quarter of what the engine has, so that what passes here does not overflow there
CHECK_STACK_BYTES = STACK_BYTES // 4
#: address space beyond what the process starts with
MEMORY_BYTES = 2 * 2**30
FRAME_BYTES = 4
#: how often to look whether the server still lives, in seconds
PARENT_SECONDS = 1.0


def frame(content: bytes) -> bytes:
    return len(content).to_bytes(FRAME_BYTES, "big") + content


def verdict(compiler: GrammarCompiler, grammar: Grammar) -> str:
    """What is wrong with the grammar, in one sentence; empty for a sound one."""
    try:
        compiler.compile(grammar)
    except RequestError as error:
        return str(error)
    return ""


def serve(compiler: GrammarCompiler, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end."""
    while len(header := requests.read(FRAME_BYTES)) == FRAME_BYTES:
        grammar = msgspec.msgpack.decode(requests.read(int.from_bytes(header, "big")), type=Grammar)
        answers.write(frame(verdict(compiler, grammar).encode()))
        answers.flush()


def main(arguments: list[str]) -> None:
    folder, vocab_size, eos = arguments
    compiler = GrammarCompiler(Path(folder), int(vocab_size), [int(token) for token in eos.split(",") if token])
    _limit_memory()
    threading.stack_size(CHECK_STACK_BYTES)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    worker = threading.Thread(target=serve, args=(compiler, sys.stdin.buffer, sys.stdout.buffer), daemon=True)
    worker.start()
    while worker.is_alive() and os.getppid() == parent:
        worker.join(PARENT_SECONDS)


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)


if __name__ == "__main__":
    main(sys.argv[1:])
