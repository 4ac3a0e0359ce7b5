"""Any model: the whole answer is one call as a JSON object, or a JSON array of calls."""

from __future__ import annotations

from collections.abc import Sequence

from server.tools.base import Function
from server.tools.grammar import Markers, lark_calls, literal
from server.tools.json_text import SPACES
from server.tools.marked import MarkedParser


class GenericJsonParser(MarkedParser):
    """Only what the answer begins with can be a call."""

    beginnings = "{["
    example = '{"name": ..., "arguments": {...}}'

    def _before(self, char: str) -> None:
        if char == "{":
            self._enter_object(char)
        elif char in SPACES or (char == "[" and not "".join(self._undecided).strip(SPACES)):
            self._undecided.append(char)
        else:
            self._fail(char)

    def _between(self, char: str) -> None:
        if char == "{" and "," in self._undecided:
            self._enter_object(char)
        elif char in SPACES or (char in ",]" and not "".join(self._undecided).strip(SPACES)):
            self._undecided.append(char)
        else:
            self._fail(char)

    @staticmethod
    def grammar(functions: Sequence[Function], several: bool, markers: Markers) -> str:
        repeated = f'"[" object ({literal(", ")} object)* "]"' if several else "object"
        return f"calls: {repeated}\n{lark_calls(functions, 'arguments')}"
