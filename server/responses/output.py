"""The output of a response as it grows: thoughts, text and calls, each an item with the events that tell of it."""

from __future__ import annotations

import uuid
from typing import Any

from server.protocol.chat import MessageDelta, TokenLogprob
from server.protocol.response_objects import (
    FunctionCallItem,
    OutputItem,
    OutputMessage,
    OutputText,
    ReasoningItem,
    ReasoningText,
)
from server.protocol.tools import ToolCallDelta

#: an event's type and its fields
Told = tuple[str, dict[str, Any]]


class OutputWriter:
    """Turns the parts of a message into items. One item is open at a time; another kind of part closes it."""

    def __init__(self, items: list[OutputItem], with_logprobs: bool) -> None:
        """`items` is the response's own list, which grows."""
        self._items = items
        self._with_logprobs = with_logprobs
        self._open: OutputItem | None = None

    def add(self, part: MessageDelta, logprobs: list[TokenLogprob]) -> list[Told]:
        """What one part adds; `logprobs` are of the tokens of its content."""
        told: list[Told] = []
        if part.reasoning is not None:
            told += self._think(part.reasoning)
        if part.content is not None:
            told += self._say(part.content, logprobs)
        for call in part.tool_calls or ():
            told += self._call(call)
        return told

    def finish(self, complete: bool) -> list[Told]:
        """The end of the output; one without any item has an empty message."""
        told = self._begin_message() if not self._items else []
        return told + self._close("completed" if complete else "incomplete")

    def interrupt(self) -> None:
        """Nothing more will come."""
        if self._open is not None:
            self._open.status = "incomplete"

    def _think(self, text: str) -> list[Told]:
        told: list[Told] = []
        if not isinstance(self._open, ReasoningItem):
            item = ReasoningItem(id=_name("rs"), status="in_progress", summary=[], content=[])
            told = self._begin(item)
            told.append(("response.content_part.added", self._at_part(part=ReasoningText(text=""))))
            item.content = [ReasoningText(text="")]
        assert isinstance(self._open, ReasoningItem)
        self._open.content[0].text += text
        return [*told, ("response.reasoning_text.delta", self._at_part(delta=text))]

    def _say(self, text: str, logprobs: list[TokenLogprob]) -> list[Told]:
        told = [] if isinstance(self._open, OutputMessage) else self._begin_message()
        assert isinstance(self._open, OutputMessage)
        content = self._open.content[0]
        content.text += text
        if content.logprobs is not None:
            content.logprobs += logprobs
        return [*told, ("response.output_text.delta", self._at_part(delta=text, logprobs=logprobs))]

    def _begin_message(self) -> list[Told]:
        item = OutputMessage(id=_name("msg"), status="in_progress", content=[])
        told = self._begin(item)
        text = OutputText(text="", annotations=[], logprobs=[] if self._with_logprobs else None)
        told.append(("response.content_part.added", self._at_part(part=text.model_copy(deep=True))))
        item.content = [text]
        return told

    def _call(self, call: ToolCallDelta) -> list[Told]:
        told: list[Told] = []
        if call.id is not None:
            name = call.function.name or ""
            item = FunctionCallItem(id=_name("fc"), call_id=call.id, name=name, arguments="", status="in_progress")
            told = self._begin(item)
        assert isinstance(self._open, FunctionCallItem)
        self._open.arguments += call.function.arguments
        if call.function.arguments:
            told.append(("response.function_call_arguments.delta", self._at(delta=call.function.arguments)))
        return told

    def _begin(self, item: OutputItem) -> list[Told]:
        told = self._close("completed")
        self._items.append(item)
        self._open = item
        added = {"output_index": len(self._items) - 1, "item": item.model_copy(deep=True)}
        return [*told, ("response.output_item.added", added)]

    def _close(self, status: str) -> list[Told]:
        item, told = self._open, []
        if item is None:
            return []
        if isinstance(item, FunctionCallItem):
            told.append(("response.function_call_arguments.done", self._at(arguments=item.arguments)))
        elif isinstance(item, OutputMessage):
            text = item.content[0]
            done = self._at_part(text=text.text, logprobs=text.logprobs or [])
            told += [
                ("response.output_text.done", done),
                ("response.content_part.done", self._at_part(part=text)),
            ]
        else:
            thought = item.content[0]
            told += [
                ("response.reasoning_text.done", self._at_part(text=thought.text)),
                ("response.content_part.done", self._at_part(part=thought)),
            ]
        item.status = "completed" if status == "completed" else "incomplete"
        self._open = None
        return [*told, ("response.output_item.done", {"output_index": len(self._items) - 1, "item": item})]

    def _at(self, **fields: Any) -> dict[str, Any]:
        assert self._open is not None
        return {"item_id": self._open.id, "output_index": len(self._items) - 1, **fields}

    def _at_part(self, **fields: Any) -> dict[str, Any]:
        return self._at(content_index=0, **fields)


def _name(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
