"""Requests whose grammar is being compiled, in a thread of its own, so that no step waits for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from engine.errors import RequestError
from engine.grammar.compiler import GrammarCompiler
from engine.grammar.matcher import CompiledGrammar, Matcher
from engine.params import Grammar
from engine.sequence import Sequence

#: for the compiler's recursion
STACK_BYTES = 16 * 2**20

Compiled = CompiledGrammar | RequestError


class GrammarQueue:
    """Used by the engine's loop alone; only the compilation itself runs elsewhere."""

    def __init__(self, compiler: GrammarCompiler) -> None:
        self._compiler = compiler
        self._waiting: dict[str, Sequence] = {}
        self._wanted: queue.SimpleQueue[tuple[str, Grammar]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[str, Grammar, Compiled]] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def prepare(self, sequence: Sequence) -> bool:
        """Give the sequence its matcher if that is cheap; else it waits for `ready`, and the answer is False."""
        grammar = sequence.params.grammar
        if grammar is None:
            return True
        compiled = self._compiler.kept(grammar)
        if compiled is not None:
            sequence.matcher = Matcher(compiled, sequence.params.ignore_eos)
            return True
        self._waiting[sequence.request_id] = sequence
        self._wanted.put((sequence.request_id, grammar))
        if self._worker is None:
            self._worker = _start(self._compile)
        return False

    def withdraw(self, sequence: Sequence) -> bool:
        """Forget a sequence that waits here; False where it does not."""
        if self._waiting.get(sequence.request_id) is not sequence:
            return False
        del self._waiting[sequence.request_id]
        return True

    def ready(self, patience: float = 0.0) -> list[Sequence]:
        """Sequences whose grammar is compiled or has failed; then so have they. Waits so long, in s, for the first."""
        found: list[Sequence] = []
        while self._waiting:
            try:
                request_id, grammar, compiled = self._done.get(timeout=patience) if patience else self._done.get(False)
            except queue.Empty:
                break
            sequence = self._waiting.get(request_id)
            # An aborted request's id may have been given to another one.
            if sequence is None or sequence.params.grammar != grammar:
                continue
            patience = 0.0
            del self._waiting[request_id]
            if isinstance(compiled, RequestError):
                sequence.fail(str(compiled), compiled.param)
            else:
                sequence.matcher = Matcher(compiled, sequence.params.ignore_eos)
            found.append(sequence)
        return found

    def _compile(self) -> None:
        while True:
            request_id, grammar = self._wanted.get()
            self._done.put((request_id, grammar, self._outcome(grammar)))

    def _outcome(self, grammar: Grammar) -> Compiled:
        try:
            return self._compiler.compile(grammar)
        except RequestError as error:
            return error
        except Exception as error:  # a library's surprise is this request's trouble, not the engine's
            return RequestError(f"The grammar cannot be used: {type(error).__name__}.", "grammar")


def _start(work: Callable[[], None]) -> threading.Thread:
    """A daemon, so that a process that leaves does not wait for it, with a stack for all that the door lets in."""
    worker = threading.Thread(target=work, name="grammar", daemon=True)
    usual = threading.stack_size(STACK_BYTES)
    worker.start()
    threading.stack_size(usual)
    return worker
