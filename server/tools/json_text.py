"""Following JSON text character by character."""

from __future__ import annotations

from enum import Enum

SPACES = " \t\n\r"
LITERALS = {"t": "rue", "f": "alse", "n": "ull"}
ESCAPES = '"\\/bfnrt'
HEX = "0123456789abcdefABCDEF"
#: where a number may go from each of its parts; "1" stands for the digits 1 to 9
NUMBER_PARTS: dict[str, dict[str, str]] = {
    "minus": {"0": "zero", "1": "whole"},
    "zero": {".": "point", "e": "exponent"},
    "whole": {"0": "whole", "1": "whole", ".": "point", "e": "exponent"},
    "point": {"0": "fraction", "1": "fraction"},
    "fraction": {"0": "fraction", "1": "fraction", "e": "exponent"},
    "exponent": {"0": "power", "1": "power", "+": "sign", "-": "sign"},
    "sign": {"0": "power", "1": "power"},
    "power": {"0": "power", "1": "power"},
}
WHOLE_NUMBERS = ("zero", "whole", "fraction", "power")


class Progress(Enum):
    """What one character did to a value."""

    MORE = "the value goes on"
    LAST = "the value ends with this character"
    AFTER = "the value, a number, ended before this character"
    BAD = "no value has this character here"


class JsonValue:
    """One JSON value; `feed` its characters, beginning with the first that is no space, until it has ended."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._expects = "value"
        self._rest = ""

    def feed(self, char: str) -> Progress:
        """Take the next character; after LAST, AFTER or BAD there is no more to feed."""
        if self._expects in NUMBER_PARTS:
            return self._number(char)
        if self._expects in ("string", "key string"):
            return self._string(char)
        if self._expects == "literal":
            return self._literal(char)
        if char in SPACES:
            return Progress.MORE if self._open else Progress.BAD
        if self._expects == "colon":
            return self._then("value") if char == ":" else Progress.BAD
        if self._expects == "comma":
            return self._between(char)
        return self._begin(char)

    def _then(self, expects: str) -> Progress:
        self._expects = expects
        return Progress.MORE

    def _ended(self) -> Progress:
        return self._then("comma") if self._open else Progress.LAST

    def _begin(self, char: str) -> Progress:
        """Where a value or a key may begin, or an empty container end."""
        if self._expects in ("key", "first key"):
            if char == '"':
                return self._then("key string")
            return self._close(char) if self._expects == "first key" else Progress.BAD
        if char == '"':
            return self._then("string")
        if char in "{[":
            self._open.append("}" if char == "{" else "]")
            return self._then("first key" if char == "{" else "first value")
        if char in LITERALS:
            self._rest = LITERALS[char]
            return self._then("literal")
        if char == "-":
            return self._then("minus")
        if char in "0123456789":
            return self._then("zero" if char == "0" else "whole")
        return self._close(char) if self._expects == "first value" else Progress.BAD

    def _close(self, char: str) -> Progress:
        if char != self._open[-1]:
            return Progress.BAD
        self._open.pop()
        return self._ended()

    def _between(self, char: str) -> Progress:
        if char == ",":
            return self._then("key" if self._open[-1] == "}" else "value")
        return self._close(char)

    def _string(self, char: str) -> Progress:
        if self._rest:
            return self._escape(char)
        if char == "\\":
            self._rest = "\\"
        elif char == '"':
            return self._ended() if self._expects == "string" else self._then("colon")
        return Progress.BAD if char < " " else Progress.MORE

    def _escape(self, char: str) -> Progress:
        """After a backslash: one character, or u and four hexadecimal digits (`_rest` counts them down)."""
        if self._rest == "\\":
            self._rest = "uuuu" if char == "u" else ""
            return Progress.MORE if char == "u" or char in ESCAPES else Progress.BAD
        self._rest = self._rest[1:]
        return Progress.MORE if char in HEX else Progress.BAD

    def _literal(self, char: str) -> Progress:
        if char != self._rest[0]:
            return Progress.BAD
        self._rest = self._rest[1:]
        return Progress.MORE if self._rest else self._ended()

    def _number(self, char: str) -> Progress:
        kind = "1" if char in "123456789" else char.lower()
        following = NUMBER_PARTS[self._expects].get(kind)
        if following is not None:
            return self._then(following)
        if self._expects not in WHOLE_NUMBERS:
            return Progress.BAD
        if not self._open:
            return Progress.AFTER
        self._expects = "comma"
        return self.feed(char)
