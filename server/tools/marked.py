"""Formats whose calls are JSON behind a marker, or JSON from the answer's beginning."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import ClassVar

from server.tools.base import ToolParser
from server.tools.call_object import CallObject
from server.tools.json_text import SPACES, Progress


class MarkedParser(ToolParser):
    """A state per kind of place in the answer, each taking one character.

    `_undecided` is text that becomes content if it turns out to open no call.
    """

    #: what opens a call anywhere in the answer
    openers: ClassVar[tuple[str, ...]] = ()
    #: characters that open one where the answer begins
    beginnings: ClassVar[str] = ""
    arguments_optional: ClassVar[bool] = False

    def __init__(self, names: Collection[str], hidden: Collection[str] = ()) -> None:
        super().__init__(names, hidden)
        self._state = self._beginning
        self._spaces = ""
        self._marker = ""
        self._undecided: list[str] = []
        self._follows_call = False
        self._object = self._new_object()

    def _plain(self, text: str, at: int) -> int:
        if self._marker or self._state != self._outside:
            return at
        found = [place for opener in self.openers if (place := text.find(opener[0], at)) >= 0]
        end = min(found, default=len(text))
        self._say(text[at:end])
        return end

    def _take(self, char: str) -> None:
        self._state(char)

    def _end(self) -> None:
        if self._state in (self._beginning, self._outside):
            self._say(self._marker)
        elif self._state != self._between:
            self._give_up()
        if not self._follows_call:
            self._content(self._spaces)

    # Outside of calls

    def _beginning(self, char: str) -> None:
        if char in SPACES:
            self._spaces += char
        elif char in self.beginnings:
            self._state = self._before
            self._state(char)
        else:
            self._state = self._outside
            self._state(char)

    def _outside(self, char: str) -> None:
        text = self._marker + char
        start = next((at for at in range(len(text)) if self._opens(text[at:])), len(text))
        self._say(text[:start])
        self._marker = text[start:]
        if self._marker in self.openers:
            self._undecided = [] if self._marker in self._hidden else [self._marker]
            self._marker = ""
            self._state = self._before

    def _opens(self, text: str) -> bool:
        return any(opener.startswith(text) for opener in self.openers)

    def _say(self, text: str) -> None:
        """Content; white space is held back, since next to a call it belongs to the format."""
        kept = text.rstrip(SPACES)
        if kept:
            if self._follows_call:
                self._spaces, kept = "", kept.lstrip(SPACES)
            self._content(self._spaces + kept)
            self._spaces, self._follows_call = "", False
            text = text[len(text.rstrip(SPACES)) :]
        self._spaces += text

    # Inside

    def _before(self, char: str) -> None:
        """Between what opens a call and the call itself: white space, then the object."""
        if char == "{":
            self._enter_object(char)
        elif char in SPACES:
            self._undecided.append(char)
        else:
            self._fail(char)

    @abstractmethod
    def _between(self, char: str) -> None:
        """After a call, where another may follow."""

    def _enter_object(self, char: str) -> None:
        self._object = self._new_object()
        self._state = self._inside_object
        self._state(char)

    def _inside_object(self, char: str) -> None:
        progress = self._object.feed(char)
        if progress is Progress.BAD:
            self._fail(char)
        elif progress is Progress.LAST:
            self._called()
        elif not self._object.begun:
            self._undecided.append(char)

    def _new_object(self) -> CallObject:
        return CallObject(self._names, self._begin_call, self._arguments, self.arguments_optional)

    def _begin_call(self, name: str) -> None:
        self._spaces, self._undecided, self._follows_call = "", [], True
        self._call(name)

    def _called(self) -> None:
        """A call is complete."""
        self._undecided = []
        self._state = self._between

    def _fail(self, char: str) -> None:
        """This character is out of place: what was undecided is content, and the character is read as such."""
        self._give_up()
        self._state = self._outside
        self._state(char)

    def _give_up(self) -> None:
        undecided, self._undecided = "".join(self._undecided), []
        self._say(undecided)
