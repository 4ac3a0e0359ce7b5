"""Mistral: `[TOOL_CALLS] [{"name": ..., "arguments": {...}}, ...]`, or newer `[TOOL_CALLS]name[ARGS]{...}` per call."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Collection, Sequence

from server.tools.base import Function
from server.tools.grammar import Markers, lark_arguments, lark_calls, literal
from server.tools.json_text import SPACES, JsonValue, Progress
from server.tools.marked import MarkedParser

OPEN, ID, ARGUMENTS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
#: what stands between the opening and the arguments' brace in the newer form
HEAD = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*(?:\[CALL_ID\]\s*\w+\s*)?(?:\[ARGS\]\s*)?")
LONGEST_HEAD = 256
ID_CHARACTERS = string.ascii_letters + string.digits


class MistralParser(MarkedParser):
    """Both forms; Mistral's templates take nine letters and digits as the id of a call."""

    markers = (OPEN, ID, ARGUMENTS)
    openers = (OPEN,)
    example = '[TOOL_CALLS] [{"name": ..., "arguments": {...}}]'

    def __init__(self, names: Collection[str], hidden: Collection[str] = ()) -> None:
        super().__init__(names, hidden)
        self._head = ""
        self._array = False
        self._value = JsonValue()

    def _before(self, char: str) -> None:
        if char in SPACES:
            self._undecided.append(char)
            return
        self._array = char == "["
        self._head = ""
        self._state = self._in_array if self._array else self._in_head
        if self._array:
            self._undecided.append(char)
        else:
            self._state(char)

    def _in_array(self, char: str) -> None:
        super()._before(char)

    def _in_head(self, char: str) -> None:
        """The name, up to the brace."""
        if char == "{":
            head = HEAD.fullmatch(self._head)
            if head is None or head[1] not in self._names:
                self._fail(char)
                return
            self._begin_call(head[1])
            self._value = JsonValue()
            self._state = self._in_arguments
            self._state(char)
        elif len(self._head) < LONGEST_HEAD:
            self._head += char
            self._undecided.append(char)
        else:
            self._fail(char)

    def _in_arguments(self, char: str) -> None:
        progress = self._value.feed(char)
        if progress is Progress.BAD:
            self._fail(char)
            return
        self._arguments(char)
        if progress is Progress.LAST:
            self._undecided = []
            self._state = self._outside

    def _between(self, char: str) -> None:
        """After a call in an array."""
        if char == "{" and "," in self._undecided:
            self._enter_object(char)
        elif char == "]" and "," not in self._undecided:
            self._undecided = []
            self._state = self._outside
        elif char in SPACES or (char == "," and "," not in self._undecided):
            self._undecided.append(char)
        else:
            self._fail(char)

    @staticmethod
    def grammar(functions: Sequence[Function], several: bool, markers: Markers) -> str:
        """The newer form where the vocabulary has its sign for arguments."""
        if not markers.special(ARGUMENTS):
            repeated = f"object ({literal(', ')} object)*" if several else "object"
            calls = f'calls: {markers.sign(OPEN)} " "? "[" {repeated} "]"'
            return f"{calls}\n{lark_calls(functions, 'arguments')}"
        choices = [
            f"{literal(function.name)} {markers.sign(ARGUMENTS)} arguments_{index}"
            for index, function in enumerate(functions)
        ]
        calls = f"calls: call{'+' if several else ''}\ncall: {markers.sign(OPEN)} ({' | '.join(choices)})"
        return f"{calls}\n{lark_arguments(functions)}"

    @staticmethod
    def call_id() -> str:
        return "".join(secrets.choice(ID_CHARACTERS) for _ in range(9))
