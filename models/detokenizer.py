"""Token ids to text as they arrive: only whole characters leave, and every token knows where in the text it ends."""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Sequence

#: a character is at most this many bytes, so at most so many byte tokens may still be waiting for the rest of it
LONGEST_CHARACTER = 4


class IncrementalDetokenizer(ABC):
    """Yields the same text as decoding all tokens at once, piece by piece; constant work per token.

    `ends[i]`: length in characters of the text that is complete after token i.
    """

    def __init__(self) -> None:
        self.ends: list[int] = []
        self._length = 0

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that these tokens complete; may be empty."""
        pieces = []
        for token in token_ids:
            piece = self._step(token)
            pieces.append(piece)
            self._length += len(piece)
            self.ends.append(self._length)
        return "".join(pieces)

    def flush(self) -> str:
        """What is still held back at the end, unfinished characters as U+FFFD."""
        piece = self._rest()
        self._length += len(piece)
        return piece

    def tokens_until(self, length: int) -> int:
        """How many tokens it took to complete the first `length` characters; all of them where flush() did."""
        return min(bisect_left(self.ends, length) + 1, len(self.ends)) if length > 0 else 0

    @abstractmethod
    def _step(self, token: int) -> str:
        """The text that this token completes."""

    @abstractmethod
    def _rest(self) -> str:
        """The text still held back."""


class ByteDetokenizer(IncrementalDetokenizer):
    """For vocabularies where every token is a string of bytes and the text is their UTF-8."""

    def __init__(
        self, token_bytes: Callable[[int], bytes], skip: Callable[[int], bool], strips_space: bool = False
    ) -> None:
        """`skip`: tokens that give no text, such as special ones. `strips_space`: the first character, if a space."""
        super().__init__()
        self._bytes = token_bytes
        self._skip = skip
        self._strips = strips_space
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def _step(self, token: int) -> str:
        if self._skip(token):
            return ""
        text = self._utf8.decode(self._bytes(token))
        if self._strips and text:
            self._strips = False
            text = text.removeprefix(" ")
        return text

    def _rest(self) -> str:
        return self._utf8.decode(b"", final=True)


class WindowDetokenizer(IncrementalDetokenizer):
    """For any other vocabulary: decodes a short window of tokens again with each one.

    The window holds the tokens of the last piece and those since; what decoding all of it adds to decoding the last
    piece alone is new text.
    """

    def __init__(self, decode: Callable[[list[int]], str], skip: Callable[[int], bool]) -> None:
        """`skip`: tokens that give no text, such as special ones; in the window they would hide the context."""
        super().__init__()
        self._decode = decode
        self._skip = skip
        self._window: list[int] = []
        self._read = 0
        self._text = ""
        self._broken = 0

    def _step(self, token: int) -> str:
        if self._skip(token):
            return ""
        self._window.append(token)
        text = self._decode(self._window)
        self._broken = self._broken + 1 if text.endswith("\ufffd") else 0
        if len(text) <= len(self._text) or 0 < self._broken < LONGEST_CHARACTER:
            return ""
        return self._emit(text)

    def _rest(self) -> str:
        return self._emit(self._decode(self._window))

    def _emit(self, text: str) -> str:
        piece = text[len(self._text) :]
        self._window = self._window[self._read :]
        self._read = len(self._window)
        self._text = self._decode(self._window)
        self._broken = 0
        return piece
