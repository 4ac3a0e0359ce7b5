"""Reading whole answers with a tool parser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from server.tools.base import CallStart, Content, Event, ToolParser

NAMES = ("add", "get_weather")


@dataclass
class Read:
    """Content, and calls as name and arguments, in order."""

    content: str = ""
    calls: list[list[str]] = field(default_factory=list)

    def add(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Content):
                self.content += event.text
            elif isinstance(event, CallStart):
                self.calls.append([event.name, ""])
            else:
                self.calls[-1][1] += event.text


def read(parser: ToolParser, pieces: Iterable[str]) -> Read:
    """All that the parser tells of an answer in pieces."""
    result = Read()
    for piece in pieces:
        result.add(parser.push(piece))
    result.add(parser.finish())
    return result
