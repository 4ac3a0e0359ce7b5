"""One choice's text as its tokens arrive: detokenised, and cut exactly where a stop string ends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.messages import Forward, Output, TokenLogprobs
from models.detokenizer import IncrementalDetokenizer
from server.reasoning.base import Phase, ReasoningParser
from server.stop_strings import StopMatcher


@dataclass(slots=True)
class Token:
    """One generated token and where its text begins in the choice's text.

    `shown` and `thought` are how much of its delta's text and reasoning may be shown once this token is. It is token
    number `place`, from 0, of those that `forward` committed.
    """

    id: int
    text_offset: int
    logprobs: TokenLogprobs | None
    shown: int = 0
    thought: int = 0
    forward: Forward | None = None
    place: int = 0


@dataclass(slots=True)
class Delta:
    """What engine outputs add to one choice. The last one carries `finish_reason`, stop or length."""

    index: int
    text: str = ""
    reasoning: str = ""
    tokens: list[Token] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    first: bool = False

    def add(self, later: Delta) -> None:
        """Append what the same choice produced next."""
        for token in later.tokens:
            token.shown += len(self.text)
            token.thought += len(self.reasoning)
        self.text += later.text
        self.reasoning += later.reasoning
        self.tokens += later.tokens
        self.forwards += later.forwards
        self.prompt_logprobs = self.prompt_logprobs or later.prompt_logprobs
        self.finish_reason, self.stop_reason = later.finish_reason, later.stop_reason

    def by_token(self) -> Iterator[tuple[Token, str, str]]:
        """Each token with its part of text and reasoning; the last one's are all that is left."""
        shown = thought = 0
        for token in self.tokens:
            last = token is self.tokens[-1]
            text = self.text[shown : None if last else token.shown]
            reasoning = self.reasoning[thought : None if last else token.thought]
            shown, thought = token.shown, token.thought
            yield token, text, reasoning

    def split(self) -> list[Delta]:
        """The same in order, one token each; the last one ends what this one ends."""
        if len(self.tokens) < 2:
            return [self]
        parts: list[Delta] = []
        for token, text, reasoning in self.by_token():
            token.shown, token.thought = len(text), len(reasoning)
            parts.append(Delta(self.index, text, reasoning, [token]))
        parts[0].forwards = self.forwards
        parts[0].prompt_logprobs, parts[0].first = self.prompt_logprobs, self.first
        parts[-1].finish_reason, parts[-1].stop_reason = self.finish_reason, self.stop_reason
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
    unless stops are kept. Stop strings are looked for only in what follows the first `min_tokens` tokens, and the
    thoughts. The tokens of thoughts are those up to the one that completes the closing tag.
    """

    def __init__(
        self,
        index: int,
        detokenizer: IncrementalDetokenizer,
        stopping: Stopping,
        silent: bool = False,
        reasoning: ReasoningParser | None = None,
    ) -> None:
        """With `silent` no token is shown or counted: only the prompt's log-probabilities are wanted.

        `reasoning` tells thoughts from the answer; without it all is answer.
        """
        self._index = index
        self._detokenizer = detokenizer
        self._stopping = stopping
        self._matcher = StopMatcher(stopping.strings, stopping.keep)
        self._silent = silent
        self._length = 0
        self._reasoning = reasoning
        self.tokens = 0
        self.reasoning_tokens = 0

    @property
    def stop_string(self) -> str | None:
        """The stop string that ended the text, once one has."""
        return self._matcher.match

    def take(self, output: Output) -> Delta:
        """Add one output; nothing is added any more after a stop string was met."""
        forwards = [] if self.stop_string is not None else output.forwards
        delta = Delta(self._index, forwards=list(forwards), prompt_logprobs=output.prompt_logprobs)
        if self._silent:
            delta.finish_reason = "length" if output.finish_reason else None
            return delta
        places = [(forward, place) for forward in output.forwards for place in range(forward.committed)]
        for position, token in enumerate(output.token_ids):
            if self.stop_string is not None:
                break
            logprobs = output.logprobs[position] if output.logprobs else None
            delta.tokens.append(Token(token, self._length, logprobs))
            if places:
                delta.tokens[-1].forward, delta.tokens[-1].place = places[position]
            self.tokens += 1
            answering = self._reasoning is None or self._reasoning.phase is Phase.ANSWERING
            ends_here = output.stop_token_id is not None and position == len(output.token_ids) - 1
            if not ends_here or self._stopping.keep:
                self._show(delta, self._detokenizer.push([token]))
            delta.tokens[-1].shown, delta.tokens[-1].thought = len(delta.text), len(delta.reasoning)
            if self._reasoning is not None and self._reasoning.thinks and not answering:
                self.reasoning_tokens = self.tokens
        if output.finish_reason is not None:
            if self.stop_string is None:
                self._show(delta, self._detokenizer.flush())
                self._say(delta, *(self._reasoning.finish() if self._reasoning else ("", "")))
                delta.text += self._matcher.flush()
            self._finish(delta, output)
        return delta

    def _show(self, delta: Delta, text: str) -> None:
        self._length += len(text)
        self._say(delta, *(self._reasoning.push(text) if self._reasoning else ("", text)))

    def _say(self, delta: Delta, thought: str, text: str) -> None:
        delta.reasoning += thought
        delta.text += self._matcher.push(text) if self.tokens > self._stopping.min_tokens else text

    def _finish(self, delta: Delta, output: Output) -> None:
        if self.stop_string is not None:
            delta.finish_reason, delta.stop_reason = "stop", self.stop_string
        else:
            delta.finish_reason = output.finish_reason
            if output.stop_token_id in self._stopping.token_ids:
                delta.stop_reason = output.stop_token_id
