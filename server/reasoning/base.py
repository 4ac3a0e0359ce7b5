"""Thoughts between tags, before the answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from server.tools.grammar import Markers, literal

if TYPE_CHECKING:
    from models.tokenizer import Tokenizer

SPACES = " \t\r\n"
#: tokens at a prompt's end that tell whether it opened a tag
TAIL = 32


class Phase(Enum):
    """Where in an answer the reader is."""

    UNDECIDED = "nothing but what may be the opening tag"
    THINKING = "between the tags"
    ANSWERING = "after them"


class ReasoningParser(ABC):
    """Reads one answer. What it tells does not depend on how the answer was divided into pieces.

    White space next to a tag is neither thought nor answer. Thoughts come at most once, at the beginning.
    """

    start: ClassVar[str] = "<think>"
    end: ClassVar[str] = "</think>"

    def __init__(self, inside: bool) -> None:
        """`inside`: the answer begins between the tags, though the model may open them once more."""
        self.inside = inside
        self.phase = Phase.THINKING if inside else Phase.UNDECIDED
        #: whether there are thoughts, empty ones included
        self.thinks = inside
        self._held = ""
        self._may_open = inside
        self._after_tag = True

    @classmethod
    @abstractmethod
    def for_prompt(cls, prompt: str) -> ReasoningParser:
        """A parser of the answer to a prompt that ends like this."""

    @classmethod
    def after(cls, prompt: Sequence[int], tokenizer: Tokenizer) -> ReasoningParser:
        """A parser of the answer to a prompt of these tokens."""
        return cls.for_prompt(tokenizer.decode(prompt[-TAIL:], skip_special_tokens=False))

    @classmethod
    def markers(cls) -> tuple[str, str]:
        """The tags, which are special tokens in some vocabularies."""
        return cls.start, cls.end

    def push(self, text: str) -> tuple[str, str]:
        """What the next piece adds to the thoughts and to the answer."""
        self._held += text
        thought = ""
        if self.phase is Phase.UNDECIDED:
            self._decide()
        if self.phase is Phase.THINKING:
            thought = self._think()
        return thought, self._answer() if self.phase is Phase.ANSWERING else ""

    def finish(self) -> tuple[str, str]:
        """What was held back, when no more text will come."""
        held, self._held = self._held, ""
        if self.phase is Phase.THINKING:
            return (held.strip(SPACES) if self._after_tag else held.rstrip(SPACES)), ""
        return "", held

    def grammar(self, markers: Markers) -> str:
        """Lark rules, `thoughts` being the first, for all that comes before the answer."""
        end = markers.special(self.end)
        if end is None:
            closed, free = "thinking", f"thinking[suffix={literal(self.end)}]: /(?s:.*)/\n"
        else:
            closed, free = f"thinking <[{end}]>", "thinking: /(?s:.*)/\n"
        closed += " spaces"
        rule = closed if self.inside else f"({markers.sign(self.start)} {closed})?"
        return f"thoughts: {rule}\n{free}spaces: /\\n{{0,2}}/\n"

    def _decide(self) -> None:
        """Whether there are thoughts, as soon as the text says so."""
        begins = self._held.lstrip(SPACES)
        if begins.startswith(self.start):
            self._held = begins.removeprefix(self.start)
            self.phase, self.thinks = Phase.THINKING, True
        elif not self.start.startswith(begins):
            self.phase, self._after_tag = Phase.ANSWERING, False

    def _think(self) -> str:
        if self._after_tag:
            self._held = self._held.lstrip(SPACES)
            if self._may_open and self._held:
                if len(self._held) < len(self.start) and self.start.startswith(self._held):
                    return ""
                self._held = self._held.removeprefix(self.start).lstrip(SPACES)
                self._may_open = False
        at = self._held.find(self.end)
        if at >= 0:
            thought, self._held = self._held[:at].rstrip(SPACES), self._held[at + len(self.end) :]
            self.phase, self._after_tag = Phase.ANSWERING, True
            return thought
        safe = len(self._held) - _possible_beginning(self._held, self.end)
        safe = len(self._held[:safe].rstrip(SPACES))
        thought, self._held = self._held[:safe], self._held[safe:]
        self._after_tag = self._after_tag and not thought
        return thought

    def _answer(self) -> str:
        held, self._held = self._held, ""
        if self._after_tag:
            held = held.lstrip(SPACES)
            self._after_tag = not held
        return held


def _possible_beginning(text: str, tag: str) -> int:
    """Length of the longest tail that is a proper beginning of the tag."""
    return next((length for length in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:length])), 0)
