"""Llama 3: `{"name": ..., "parameters": {...}}` as the whole answer, or after `<|python_tag|>`; `;` between calls."""

from __future__ import annotations

from collections.abc import Sequence

from server.tools.base import Function
from server.tools.grammar import Markers, lark_calls, literal
from server.tools.json_text import SPACES
from server.tools.marked import MarkedParser

TAG = "<|python_tag|>"


class Llama3JsonParser(MarkedParser):
    """A brace opens a call only where the answer begins; elsewhere it takes the tag."""

    markers = (TAG,)
    openers = (TAG,)
    example = '{"name": ..., "parameters": {...}}'
    beginnings = "{"

    def _between(self, char: str) -> None:
        if char == "{":
            self._enter_object(char)
        elif char in SPACES or char in ";,":
            self._undecided.append(char)
        else:
            self._fail(char)

    @staticmethod
    def grammar(functions: Sequence[Function], several: bool, markers: Markers) -> str:
        repeated = f"object ({literal('; ')} object)*" if several else "object"
        return f"calls: {repeated}\n{lark_calls(functions, 'parameters')}"
