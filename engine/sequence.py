"""One request while it lives in the engine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from engine.messages import Forward, Output, RequestSteps, RequestTimes, Submit, TokenLogprobs
from engine.policy.record import DraftRecord

if TYPE_CHECKING:
    from engine.grammar.matcher import Matcher

NOTHING_ALLOWED = "The grammar and the request's bans together leave no token that may come next; loosen one of them."


class SequenceState:
    """What a decoding scheme remembers of one sequence beside its tokens; each scheme has a subclass of its own."""


class Sequence:
    """The tokens of one request and where it stands.

    `tokens` holds the prompt and every final token; the K/V of the first `prefix_len` of them are in the cache,
    the rest is pending (one token while decoding, a prompt at the start or after preemption). `drafts` are
    candidates for the positions after `tokens`; `state` is the decoding scheme's own, and `record` tells how its drafts
    have done.
    """

    def __init__(self, submit: Submit, seed: int, max_len: int, stop_token_ids: frozenset[int]) -> None:
        self.request_id = submit.request_id
        self.params = submit.params
        self.priority = submit.priority
        self.arrival_time = submit.arrival_time or time.monotonic()
        self.order = 0
        self.seed = seed
        self.tokens = list(submit.prompt_token_ids)
        self.prompt_len = len(self.tokens)
        self.max_len = max_len
        self.stop_token_ids = stop_token_ids
        self.prefix_len = 0
        self.drafts: list[int] = []
        self.state: SequenceState | None = None
        self.record = DraftRecord()
        self.matcher: Matcher | None = None
        self.pages: list[int] = []
        self.page_hashes: list[bytes] = []
        self.finish_reason: str | None = None
        self.stop_token_id: int | None = None
        self.error: str | None = None
        self.error_param: str | None = None
        self.scheduled_time = 0.0
        self.first_token_time = 0.0
        self.cached_tokens = 0
        self.preemptions = 0
        self.forwards = 0
        self.draft_tokens = 0
        self.acceptance_lengths: list[int] = []
        self.logprobs: list[TokenLogprobs] = []
        #: those of tokens that are decided but not committed, by position
        self.held_logprobs: dict[int, TokenLogprobs] = {}
        self.prompt_logprobs: list[TokenLogprobs | None] = [None]
        self._published = self.prompt_len
        self._forwards: list[Forward] = []

    @property
    def pending(self) -> int:
        """Final tokens whose K/V are not in the cache yet; at least 1 while a sequence decodes left to right."""
        return len(self.tokens) - self.prefix_len

    @property
    def decoding(self) -> bool:
        return self.pending == 1 and len(self.tokens) > self.prompt_len

    @property
    def remaining(self) -> int:
        """Tokens that may still be generated."""
        return self.max_len - len(self.tokens)

    @property
    def output_len(self) -> int:
        return len(self.tokens) - self.prompt_len

    def append(self, token_ids: list[int]) -> int:
        """Commit tokens up to the first that ends the sequence; returns how many were taken.

        A negative one says that none is allowed there: the end of a grammar, or a failure.
        """
        for taken, token in enumerate(token_ids, start=1):
            if token < 0:
                self._end_without_token()
                return taken - 1
            self.tokens.append(token)
            if token in self.stop_token_ids and self.output_len >= self.params.min_tokens:
                self.finish_reason, self.stop_token_id = "stop", token
            elif self.matcher is not None and self.matcher.advance(token):
                self.finish_reason = "stop"
            elif self.remaining <= 0:
                self.finish_reason = "length"
            if self.finish_reason is not None:
                return taken
        return len(token_ids)

    def count_forward(self, forward: Forward) -> None:
        """Record what a forward gave."""
        committed = forward.committed
        self._forwards.append(forward)
        self.forwards += forward.decodes
        self.draft_tokens += forward.drafted if forward.decodes else 0
        if not forward.decodes or not committed:
            return
        if committed > len(self.acceptance_lengths):
            self.acceptance_lengths.extend([0] * (committed - len(self.acceptance_lengths)))
        self.acceptance_lengths[committed - 1] += 1

    def fail(self, message: str, param: str | None = None) -> None:
        """End with an error; `param` names the request's field at fault, if one is."""
        self.finish_reason, self.error, self.error_param = "error", message, param

    def _end_without_token(self) -> None:
        assert self.matcher is not None
        if self.matcher.complete:
            self.finish_reason = "stop"
        else:
            self.fail(self.matcher.failure or NOTHING_ALLOWED, "grammar")

    def preempt(self) -> None:
        """Forget what the cache held; every token becomes pending again."""
        self.prefix_len = 0
        self.drafts, self.record.hint = [], None
        self.page_hashes = []
        self.preemptions += 1

    @property
    def has_news(self) -> bool:
        return len(self.tokens) > self._published

    def take_output(self) -> Output:
        """What is new since the last call, with the request's record if it has finished."""
        now = time.monotonic()
        token_ids = self.tokens[self._published :]
        if token_ids and not self.first_token_time:
            self.first_token_time = now
        first = self._published == self.prompt_len and bool(token_ids)
        self._published = len(self.tokens)
        output = Output(
            request_id=self.request_id,
            token_ids=token_ids,
            forwards=self._forwards,
            logprobs=self.logprobs if self.params.logprobs is not None else None,
            prompt_logprobs=self.prompt_logprobs if first and self.params.prompt_logprobs is not None else None,
            finish_reason=self.finish_reason,
            stop_token_id=self.stop_token_id,
            error=self.error,
            error_param=self.error_param,
            times=self._times(now) if self.finish_reason else None,
            steps=self._steps() if self.finish_reason else None,
        )
        self.logprobs = []
        self._forwards = []
        return output

    def _times(self, now: float) -> RequestTimes:
        return RequestTimes(self.arrival_time, self.scheduled_time, self.first_token_time, now)

    def _steps(self) -> RequestSteps:
        lengths = self.acceptance_lengths
        committed = sum(length * steps for length, steps in enumerate(lengths, start=1))
        return RequestSteps(self.forwards, committed, lengths, self.cached_tokens, self.preemptions, self.draft_tokens)
