"""One assistant message as it grows: thoughts, content and tool calls out of a choice's text."""

from __future__ import annotations

from models.tokenizer import Tokenizer
from server.generation import Job
from server.protocol.chat import AssistantMessage, MessageDelta
from server.protocol.tools import FunctionCall, ToolCall, ToolCallDelta
from server.tools.base import Arguments, CallStart, Content, Event
from server.tools.choice import ToolUse
from server.tools.grammar import Markers
from server.transcript import Delta


class MessageReader:
    """Reads one choice. `finish_reason` is what to tell of how the choice ended."""

    def __init__(self, use: ToolUse | None, hidden: frozenset[str], show_reasoning: bool = True) -> None:
        """`use`: the calls it may hold. `hidden`: signs of the format that readers do not see, being special tokens."""
        self._parser = None if use is None else use.reader(hidden)
        self._several = use is None or use.several
        self._show_reasoning = show_reasoning
        self._calls = 0
        self.finish_reason: str | None = None

    @property
    def parses(self) -> bool:
        """Whether text may be held back, or left out."""
        return self._parser is not None or not self._show_reasoning

    def take(self, delta: Delta) -> list[MessageDelta]:
        """What the choice's next delta adds to the message, in order."""
        added = []
        if delta.reasoning and self._show_reasoning:
            added.append(MessageDelta(reasoning=delta.reasoning, reasoning_content=delta.reasoning))
        for event in self._events(delta):
            if isinstance(event, Content):
                added.append(MessageDelta(content=event.text))
            elif isinstance(event, CallStart):
                self._calls += 1
            if not isinstance(event, Content) and (self._several or self._calls == 1):
                added.append(MessageDelta(tool_calls=[self._call(event)]))
        self.finish_reason = delta.finish_reason
        if delta.finish_reason == "stop" and self._calls:
            self.finish_reason = "tool_calls"
        return added

    def _events(self, delta: Delta) -> list[Event]:
        if self._parser is None:
            return [Content(delta.text)] if delta.text else []
        events = self._parser.push(delta.text)
        return events if delta.finish_reason is None else [*events, *self._parser.finish()]

    def _call(self, event: CallStart | Arguments) -> ToolCallDelta:
        index = self._calls - 1
        if isinstance(event, Arguments):
            return ToolCallDelta(index=index, function=FunctionCall(arguments=event.text))
        assert self._parser is not None
        function = FunctionCall(name=event.name, arguments="")
        return ToolCallDelta(index=index, id=self._parser.call_id(), type="function", function=function)


def message_reader(job: Job, tokenizer: Tokenizer, show_reasoning: bool = True) -> MessageReader:
    """The reader of one of the job's choices; special tokens are signs that it would not have seen otherwise."""
    special = Markers(tokenizer).special
    signs = job.tools.parser.markers if job.tools is not None and job.skip_special_tokens else ()
    hidden = frozenset(sign for sign in signs if special(sign) is not None)
    return MessageReader(job.tools, hidden, show_reasoning)


def whole_message(parts: list[MessageDelta]) -> AssistantMessage:
    """All of a message at once; without any text its content is null if it holds calls or thoughts."""
    content = "".join(part.content or "" for part in parts)
    thoughts = "".join(part.reasoning or "" for part in parts)
    calls: list[ToolCall] = []
    for delta in (call for part in parts for call in part.tool_calls or []):
        if delta.id is not None:
            function = FunctionCall(name=delta.function.name, arguments="")
            calls.append(ToolCall(id=delta.id, type="function", function=function))
        calls[-1].function.arguments += delta.function.arguments
    message = AssistantMessage(role="assistant", content=content or (None if calls or thoughts else ""), refusal=None)
    if thoughts:
        message.reasoning = message.reasoning_content = thoughts
    if calls:
        message.tool_calls = calls
    return message
