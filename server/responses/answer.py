"""A generation as /v1/responses shows it: one object that grows, and typed events that tell how."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from models.tokenizer import Tokenizer
from server.generation import Generation
from server.logprobs import chat_logprobs
from server.pacing import paced
from server.protocol.chat import TokenLogprob
from server.protocol.response_objects import (
    Incomplete,
    OutputMessage,
    OutputText,
    OutputTokensDetails,
    Response,
    ResponseEvent,
    ResponseFailure,
    ResponseUsage,
)
from server.protocol.responses import ResponsesRequest
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
        self._text = OutputText(text="", annotations=[], logprobs=[] if request.wants_logprobs else None)
        self._item = OutputMessage(id=f"msg_{uuid.uuid4().hex}", status="in_progress", content=[])

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

    def cancel(self) -> None:
        """It was stopped on request; what there is of its text stays."""
        if self._item.content:
            self._item.status = "incomplete"
        self.response.status = "cancelled"

    async def _made(self, pacing: Pacing) -> AsyncGenerator[ResponseEvent, None]:
        yield self._event("response.created", response=self.response)
        if self.response.status == "queued":
            yield self._event("response.queued", response=self.response)
        else:
            yield self._event("response.in_progress", response=self.response)
        async with aclosing(paced(self._generation.deltas(), pacing)) as deltas:
            async for delta in deltas:
                if not self._item.content:
                    for event in self._opening():
                        yield event
                if delta.text or delta.tokens:
                    yield self._add(delta)
                if delta.finish_reason is not None:
                    for event in self._closing(delta.finish_reason):
                        yield event

    def _opening(self) -> list[ResponseEvent]:
        events = []
        if self.response.status == "queued":
            self.response.status = "in_progress"
            events.append(self._event("response.in_progress", response=self.response))
        empty = self._item.model_copy()
        events.append(self._event("response.output_item.added", output_index=0, item=empty))
        events.append(self._part_event("response.content_part.added", part=self._text.model_copy()))
        self._item.content = [self._text]
        self.response.output = [self._item]
        return events

    def _add(self, delta: Delta) -> ResponseEvent:
        self._text.text += delta.text
        entries: list[TokenLogprob] = []
        if self._text.logprobs is not None:
            entries = chat_logprobs(self._tokenizer, delta.tokens, self.request.top_logprobs or 0).content
            self._text.logprobs += entries
        return self._part_event("response.output_text.delta", delta=delta.text, logprobs=entries)

    def _closing(self, finish_reason: str) -> list[ResponseEvent]:
        response, text = self.response, self._text
        complete = finish_reason != "length"
        self._item.status = response.status = "completed" if complete else "incomplete"
        if not complete:
            response.incomplete_details = Incomplete(reason="max_output_tokens")
        response.completed_at = int(time.time()) if complete else None
        response.usage = self._usage()
        if self.request.return_metrics:
            response.metrics = self._generation.metrics()
        self.finished()
        return [
            self._part_event("response.output_text.done", text=text.text, logprobs=text.logprobs or []),
            self._part_event("response.content_part.done", part=text),
            self._event("response.output_item.done", output_index=0, item=self._item),
            self._event(f"response.{response.status}", response=response),
        ]

    def _usage(self) -> ResponseUsage:
        usage = self._generation.usage()
        assert usage.prompt_tokens_details is not None
        return ResponseUsage(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=usage.prompt_tokens_details,
            output_tokens=usage.completion_tokens,
            output_tokens_details=OutputTokensDetails(),
            total_tokens=usage.total_tokens,
        )

    def _part_event(self, kind: str, **fields: Any) -> ResponseEvent:
        return self._event(kind, item_id=self._item.id, output_index=0, content_index=0, **fields)

    def _event(self, kind: str, **fields: Any) -> ResponseEvent:
        event = ResponseEvent(type=kind, sequence_number=self._sequence, **fields)
        self._sequence += 1
        return event


def framed(event: ResponseEvent) -> bytes:
    """One server-sent event under its type's name."""
    return b"event: " + event.type.encode() + b"\ndata: " + event.to_json() + b"\n\n"
