"""One choice's text as its tokens arrive: detokenised, and cut exactly where a stop string ends it."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.messages import Output, TokenLogprobs
from models.detokenizer import IncrementalDetokenizer
from server.stop_strings import StopMatcher


@dataclass(slots=True)
class Token:
    """One generated token and where its text begins in the choice's text.

    `shown` is how much of its delta's text may be shown once this token is.
    """

    id: int
    text_offset: int
    logprobs: TokenLogprobs | None
    shown: int = 0


@dataclass(slots=True)
class Delta:
    """What engine outputs add to one choice. The last one carries `finish_reason`, stop or length."""

    index: int
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    first: bool = False

    def add(self, later: Delta) -> None:
        """Append what the same choice produced next."""
        for token in later.tokens:
            token.shown += len(self.text)
        self.text += later.text
        self.tokens += later.tokens
        self.prompt_logprobs = self.prompt_logprobs or later.prompt_logprobs
        self.finish_reason, self.stop_reason = later.finish_reason, later.stop_reason

    def split(self) -> list[Delta]:
        """The same in order, one token each; the last one ends what this one ends."""
        if len(self.tokens) < 2:
            return [self]
        parts, begin = [], 0
        for token in self.tokens:
            parts.append(Delta(self.index, self.text[begin : token.shown], [token]))
            begin, token.shown = token.shown, token.shown - begin
        parts[0].prompt_logprobs, parts[0].first = self.prompt_logprobs, self.first
        last = parts[-1]
        last.text += self.text[begin:]
        last.finish_reason, last.stop_reason = self.finish_reason, self.stop_reason
        return parts


@dataclass(frozen=True)
class Stopping:
    """What ends a text beside the engine's own reasons; `keep` leaves the stop's text in the answer."""

    strings: list[str]
    token_ids: list[int]
    keep: bool
    min_tokens: int


class Transcript:
    """Turns a sequence's outputs into deltas.

    Tokens up to and including the one that completes a stop string belong to the answer; its text ends before the stop
    string (or after it, when it is to be kept). A token that ends the sequence by its id counts, but shows no text
    unless stops are kept. Stop strings are looked for only in what follows the first `min_tokens` tokens.
    """

    def __init__(
        self, index: int, detokenizer: IncrementalDetokenizer, stopping: Stopping, silent: bool = False
    ) -> None:
        """With `silent` no token is shown or counted: only the prompt's log-probabilities are wanted."""
        self._index = index
        self._detokenizer = detokenizer
        self._stopping = stopping
        self._matcher = StopMatcher(stopping.strings, stopping.keep)
        self._silent = silent
        self._length = 0
        self.tokens = 0

    @property
    def stop_string(self) -> str | None:
        """The stop string that ended the text, once one has."""
        return self._matcher.match

    def take(self, output: Output) -> Delta:
        """Add one output; nothing is added any more after a stop string was met."""
        delta = Delta(self._index, prompt_logprobs=output.prompt_logprobs)
        if self._silent:
            delta.finish_reason = "length" if output.finish_reason else None
            return delta
        pieces: list[str] = []
        for position, token in enumerate(output.token_ids):
            if self.stop_string is not None:
                break
            logprobs = output.logprobs[position] if output.logprobs else None
            delta.tokens.append(Token(token, self._length, logprobs))
            self.tokens += 1
            ends_here = output.stop_token_id is not None and position == len(output.token_ids) - 1
            if not ends_here or self._stopping.keep:
                pieces.append(self._show(self._detokenizer.push([token])))
            delta.tokens[-1].shown = sum(map(len, pieces))
        if output.finish_reason is not None:
            if self.stop_string is None:
                pieces.append(self._show(self._detokenizer.flush()))
                pieces.append(self._matcher.flush())
            self._finish(delta, output)
        delta.text = "".join(pieces)
        return delta

    def _show(self, text: str) -> str:
        self._length += len(text)
        return self._matcher.push(text) if self.tokens > self._stopping.min_tokens else text

    def _finish(self, delta: Delta, output: Output) -> None:
        if self.stop_string is not None:
            delta.finish_reason, delta.stop_reason = "stop", self.stop_string
        else:
            delta.finish_reason = output.finish_reason
            if output.stop_token_id in self._stopping.token_ids:
                delta.stop_reason = output.stop_token_id
