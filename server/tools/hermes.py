"""Hermes and Qwen: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, once per call."""

from __future__ import annotations

from collections.abc import Sequence

from server.tools.base import Function
from server.tools.grammar import Markers, lark_calls, literal
from server.tools.json_text import SPACES
from server.tools.marked import MarkedParser

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class HermesParser(MarkedParser):
    """Calls stand between tags; text may stand around them."""

    markers = (OPEN, CLOSE)
    openers = (OPEN,)
    example = '<tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call>'
    arguments_optional = True

    def _between(self, char: str) -> None:
        """Up to the closing tag; a model that forgets it may go on."""
        tag = ("".join(self._undecided) + char).lstrip(SPACES)
        self._undecided = [tag]
        if not CLOSE.startswith(tag):
            self._undecided, self._state = [], self._outside
            for each in tag:
                self._state(each)
        elif tag == CLOSE:
            self._undecided, self._state = [], self._outside

    @staticmethod
    def grammar(functions: Sequence[Function], several: bool, markers: Markers) -> str:
        opening = f"{markers.sign(OPEN)} {literal(chr(10))}"
        closing = f"{literal(chr(10))} {markers.sign(CLOSE)}"
        repeated = f"call ({literal(chr(10))} call)*" if several else "call"
        return f"calls: {repeated}\ncall: {opening} object {closing}\n{lark_calls(functions, 'arguments')}"
