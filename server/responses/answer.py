"""A generation as /v1/responses shows it: one object that grows, and typed events that tell how."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from models.tokenizer import Tokenizer
from server.answers.message import message_reader
from server.generation import Generation
from server.logprobs import chat_logprobs
from server.pacing import paced
from server.protocol.chat import MessageDelta, TokenLogprob
from server.protocol.response_objects import (
    Incomplete,
    OutputTokensDetails,
    Response,
    ResponseEvent,
    ResponseFailure,
    ResponseUsage,
)
from server.protocol.responses import ResponsesRequest
from server.responses.output import OutputWriter, Told
from server.settings import Pacing
from server.streaming import as_api_error
from server.transcript import Delta


class ResponseAnswer:
    """Makes one response. `response` is how far it is; `finished` is called when it has its last state."""

    def __init__(
        self, request: ResponsesRequest, generation: Generation, tokenizer: Tokenizer, response: Response
    ) -> None:
        self.request = request
        self.response = response
        self.finished: Callable[[], None] = lambda: None
        self._generation = generation
        self._tokenizer = tokenizer
        self._sequence = 0
        self._reader = message_reader(generation.job, tokenizer)
        self._writer = OutputWriter(response.output, request.wants_logprobs)

    @property
    def unfinished(self) -> bool:
        return self.response.status in ("queued", "in_progress")

    async def whole(self) -> Response:
        """The complete response. Raises ApiError where the engine failed."""
        async with aclosing(self._made(Pacing())) as events:
            async for _ in events:
                pass
        return self.response

    async def events(self, pacing: Pacing) -> AsyncGenerator[bytes, None]:
        """The response as server-sent events; one that fails ends with response.failed."""
        try:
            async with aclosing(self._made(pacing)) as events:
                async for event in events:
                    yield framed(event)
        except Exception as error:
            failure = as_api_error(error)
            self.response.status = "failed"
            self.response.error = ResponseFailure(code="server_error", message=failure.detail)
            self.finished()
            yield framed(self._event("response.failed", response=self.response))

    def cancel(self) -> bytes:
        """It was stopped on request; what there is of its text stays. The last event, for those who follow it.

        There is no event of that name, so it is response.incomplete with a response whose status is cancelled.
        """
        self._writer.interrupt()
        self.response.status = "cancelled"
        self.finished()
        return framed(self._event("response.incomplete", response=self.response))

    async def _made(self, pacing: Pacing) -> AsyncGenerator[ResponseEvent, None]:
        yield self._event("response.created", response=self.response)
        if self.response.status == "queued":
            yield self._event("response.queued", response=self.response)
        else:
            yield self._event("response.in_progress", response=self.response)
        async with aclosing(paced(self._generation.deltas(), pacing)) as deltas:
            async for delta in deltas:
                if self.response.status == "queued":
                    self.response.status = "in_progress"
                    yield self._event("response.in_progress", response=self.response)
                for kind, fields in self._told(delta):
                    yield self._event(kind, **fields)
                if self._reader.finish_reason is not None:
                    for kind, fields in self._finish(self._reader.finish_reason):
                        yield self._event(kind, **fields)

    def _told(self, delta: Delta) -> list[Told]:
        """What a delta adds to the output. Tokens of plain text that show nothing yet are told of all the same."""
        parts = self._reader.take(delta)
        job = self._generation.job
        if not parts and delta.tokens and not self._reader.parses and job.reasoning is None:
            parts = [MessageDelta(content="")]
        entries: list[TokenLogprob] = []
        if self.request.wants_logprobs:
            entries = chat_logprobs(self._tokenizer, delta.tokens, self.request.top_logprobs or 0).content
        told: list[Told] = []
        for part in parts:
            told += self._writer.add(part, entries)
            if part.content is not None:
                entries = []
        return told

    def _finish(self, finish_reason: str) -> list[Told]:
        response, complete = self.response, finish_reason != "length"
        told = self._writer.finish(complete)
        response.status = "completed" if complete else "incomplete"
        if not complete:
            response.incomplete_details = Incomplete(reason="max_output_tokens")
        response.completed_at = int(time.time()) if complete else None
        response.usage = self._usage()
        if self.request.return_metrics:
            response.metrics = self._generation.metrics()
        self.finished()
        return [*told, (f"response.{response.status}", {"response": response})]

    def _usage(self) -> ResponseUsage:
        usage = self._generation.usage()
        assert usage.prompt_tokens_details is not None
        thoughts = usage.completion_tokens_details
        return ResponseUsage(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=usage.prompt_tokens_details,
            output_tokens=usage.completion_tokens,
            output_tokens_details=OutputTokensDetails(reasoning_tokens=thoughts.reasoning_tokens if thoughts else 0),
            total_tokens=usage.total_tokens,
        )

    def _event(self, kind: str, **fields: Any) -> ResponseEvent:
        event = ResponseEvent(type=kind, sequence_number=self._sequence, **fields)
        self._sequence += 1
        return event


def framed(event: ResponseEvent) -> bytes:
    """One server-sent event under its type's name."""
    return b"event: " + event.type.encode() + b"\ndata: " + event.to_json() + b"\n\n"
