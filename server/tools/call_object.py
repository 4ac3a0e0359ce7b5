"""One call written as a JSON object with a name and its arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from server.tools.json_text import SPACES, JsonValue, Progress

ARGUMENT_KEYS = ("arguments", "parameters")


class CallObject:
    """Feed it from the opening brace on; it reports the call once its name and its arguments' first brace are known.

    Keys may come in any order; others than name and arguments, or parameters, are read over.
    """

    def __init__(
        self,
        names: Collection[str],
        start: Callable[[str], None],
        arguments: Callable[[str], None],
        arguments_optional: bool,
    ) -> None:
        """`start` and `arguments` hear of the call. With `arguments_optional` a bare name is a call with none."""
        self._names = names
        self._start = start
        self._hear = arguments
        self._optional = arguments_optional
        self._expects = "open"
        self._key = ""
        self._name: str | None = None
        self._value = JsonValue()
        self._text: list[str] = []
        self._arguments: list[str] | None = None
        self.begun = False

    def feed(self, char: str) -> Progress:
        """MORE until the closing brace, which is LAST; BAD for a character that cannot be part of a call."""
        if self._expects == "value inside":
            return self._inside(char)
        if char in SPACES:
            return Progress.MORE
        if self._expects == "open":
            return self._then("key or end") if char == "{" else Progress.BAD
        if self._expects == "colon":
            return self._then("value") if char == ":" else Progress.BAD
        if self._expects == "comma":
            return self._then("key") if char == "," else self._close(char)
        if self._expects == "value":
            return self._begin(char)
        if char == '"':
            self._key = ""
            return self._begin(char)
        return self._close(char) if self._expects == "key or end" else Progress.BAD

    def _then(self, expects: str) -> Progress:
        self._expects = expects
        return Progress.MORE

    def _begin(self, char: str) -> Progress:
        """The first character of a key or of a value."""
        if self._key in ARGUMENT_KEYS:
            if self._arguments is not None or char != "{":
                return Progress.BAD
            self._arguments = []
        if self._key == "name" and (self._name is not None or char != '"'):
            return Progress.BAD
        self._value, self._text = JsonValue(), []
        self._expects = "value inside"
        return self._inside(char)

    def _inside(self, char: str) -> Progress:
        progress = self._value.feed(char)
        if progress is Progress.BAD:
            return progress
        if progress is Progress.AFTER:
            self._ended()
            return self.feed(char)
        self._keep(char)
        return self._ended() if progress is Progress.LAST else Progress.MORE

    def _keep(self, char: str) -> None:
        if self.begun and self._key in ARGUMENT_KEYS:
            self._hear(char)
        elif self._key in ARGUMENT_KEYS and self._arguments is not None:
            self._arguments.append(char)
            self._begin_call()
        elif self._key in ("", "name"):
            self._text.append(char)

    def _ended(self) -> Progress:
        """A key or a value is complete."""
        if not self._key:
            self._key = json.loads("".join(self._text)) or " "
            return self._then("colon")
        if self._key == "name":
            self._name = json.loads("".join(self._text))
            if self._name not in self._names:
                return Progress.BAD
            self._begin_call()
        self._expects = "comma"
        return Progress.MORE

    def _begin_call(self) -> None:
        if self._name is not None and self._arguments:
            self.begun = True
            self._start(self._name)
            self._hear("".join(self._arguments))

    def _close(self, char: str) -> Progress:
        if char != "}" or self._name is None:
            return Progress.BAD
        if self._arguments is None:
            if not self._optional:
                return Progress.BAD
            self._arguments = ["{}"]
            self._begin_call()
        return Progress.LAST
