"""What every tool-call format has in common: text in, in pieces of any size; content and calls out."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from server.tools.grammar import Markers


@dataclass(frozen=True)
class Function:
    """A function that may be called; `parameters` is its arguments' JSON schema."""

    name: str
    parameters: dict[str, Any]
    strict: bool = False
    description: str = ""


@dataclass(slots=True)
class Content:
    """Text for the reader."""

    text: str


@dataclass(slots=True)
class CallStart:
    """A call begins. Its arguments follow, until the next call's start."""

    name: str


@dataclass(slots=True)
class Arguments:
    """The next piece of the last call's arguments: JSON text as the model wrote it."""

    text: str


Event = Content | CallStart | Arguments


class ToolParser(ABC):
    """Reads one answer. The events do not depend on how the answer was divided into pieces, but for where they join.

    A call has begun once its name, which has to be an offered one, and the first brace of its arguments are known; what
    looks like a call but goes wrong before that is content. Arguments that go wrong later end there, and the rest is
    content. Nothing is lost but the format's own signs and the white space next to a call.
    """

    #: signs of the format that are special tokens in some vocabularies
    markers: ClassVar[tuple[str, ...]] = ()
    #: a call as the format writes it
    example: ClassVar[str]

    def __init__(self, names: Collection[str], hidden: Collection[str] = ()) -> None:
        """`names`: the offered functions. `hidden`: markers that readers do not see where they open no call."""
        self._names = frozenset(names)
        self._hidden = frozenset(hidden)
        #: neighbours of a kind join as they come
        self._events: list[tuple[type[Content | CallStart | Arguments], list[str]]] = []

    def push(self, text: str) -> list[Event]:
        """What the next piece of the answer adds."""
        for char in text:
            self._take(char)
        return self._drain()

    def finish(self) -> list[Event]:
        """What was held back, when no more text will come."""
        self._end()
        return self._drain()

    @abstractmethod
    def _take(self, char: str) -> None:
        """Read one character."""

    @abstractmethod
    def _end(self) -> None:
        """Decide what was undecided."""

    @staticmethod
    @abstractmethod
    def grammar(functions: Sequence[Function], several: bool, markers: Markers) -> str:
        """Lark rules, `calls` being the first, for one call of these functions, or with `several` one or more."""

    @staticmethod
    def call_id() -> str:
        """A new id for a call."""
        return f"call_{secrets.token_hex(12)}"

    def _content(self, text: str) -> None:
        if text:
            self._add(Content, text)

    def _call(self, name: str) -> None:
        self._add(CallStart, name)

    def _arguments(self, text: str) -> None:
        self._add(Arguments, text)

    def _add(self, kind: type[Content | CallStart | Arguments], text: str) -> None:
        if self._events and self._events[-1][0] is kind is not CallStart:
            self._events[-1][1].append(text)
        else:
            self._events.append((kind, [text]))

    def _drain(self) -> list[Event]:
        events, self._events = self._events, []
        return [kind("".join(parts)) for kind, parts in events]
