"""Messages out of text that grows by several tokens at a time, without a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.messages import Output
from models.tokenizer import Tokenizer
from server.answers.message import MessageReader, whole_message
from server.protocol.chat import MessageDelta
from server.reasoning.registry import REASONING_PARSERS
from server.tools.base import Function
from server.tools.choice import ToolUse
from server.tools.registry import TOOL_PARSERS
from server.transcript import Delta, Stopping, Transcript
from tests.server.test_transcript import outputs

ARGUMENTS = '{"a": [1, 2], "b": "</tool_call>; ä€"}'
CALL = f'<tool_call>\n{{"name": "add", "arguments": {ARGUMENTS}}}\n</tool_call>'
TEXT = f"<think>Which one?</think>\n\nLet me add.\n\n{CALL}\n{CALL}"


def use(several: bool = True) -> ToolUse:
    return ToolUse(TOOL_PARSERS["hermes"], (Function("add", {}),), several, forced=False)


def deltas(tokenizer: Tokenizer, text: str, width: int, stop: list[str], end: str = "stop") -> Iterator[Delta]:
    """The text as a model's answer, `width` tokens a step."""
    reasoning = REASONING_PARSERS["qwen3"].for_prompt("")
    transcript = Transcript(0, tokenizer.detokenizer(), Stopping(stop, [], False, 0), reasoning=reasoning)
    for output in outputs(tokenizer.encode(text), width, finish_reason=end):
        delta = transcript.take(output)
        yield delta
        if transcript.stop_string is not None:
            if delta.finish_reason is None:
                yield transcript.take(Output(request_id="r", token_ids=[], finish_reason="abort"))
            return


def grow(reader: MessageReader, arriving: Iterator[Delta]) -> list[MessageDelta]:
    return [part for delta in arriving for part in reader.take(delta)]


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 1000])
def test_a_message_does_not_depend_on_how_many_tokens_a_step_commits(tokenizer: Tokenizer, width: int) -> None:
    reader = MessageReader(use(), frozenset())
    parts = grow(reader, deltas(tokenizer, TEXT, width, []))
    message = whole_message(parts)
    assert (message.reasoning, message.reasoning_content) == ("Which one?", "Which one?")
    assert message.content == "Let me add."
    assert [(call.function.name, call.function.arguments) for call in message.tool_calls or []] == [
        ("add", ARGUMENTS),
        ("add", ARGUMENTS),
    ]
    assert reader.finish_reason == "tool_calls"
    assert len({call.id for call in message.tool_calls or []}) == 2


def test_a_call_is_announced_before_its_arguments_come(tokenizer: Tokenizer) -> None:
    parts = grow(MessageReader(use(), frozenset()), deltas(tokenizer, CALL, 2, []))
    first, *others = [call for part in parts for call in part.tool_calls or []]
    assert (first.index, first.type, first.function.name, first.function.arguments) == (0, "function", "add", "")
    assert first.id
    assert len(others) > 3
    assert not any(other.id or other.type or other.function.name for other in others)
    assert "".join(other.function.arguments for other in others) == ARGUMENTS


@pytest.mark.parametrize("width", [1, 3, 1000])
def test_further_calls_are_left_out_where_one_was_asked_for(tokenizer: Tokenizer, width: int) -> None:
    message = whole_message(grow(MessageReader(use(several=False), frozenset()), deltas(tokenizer, TEXT, width, [])))
    assert [call.function.arguments for call in message.tool_calls or []] == [ARGUMENTS]


@pytest.mark.parametrize("width", [1, 3, 1000])
def test_a_stop_string_ends_a_call_where_it_stands(tokenizer: Tokenizer, width: int) -> None:
    reader = MessageReader(use(), frozenset())
    message = whole_message(grow(reader, deltas(tokenizer, TEXT, width, [";"])))
    assert [call.function.arguments for call in message.tool_calls or []] == [ARGUMENTS.partition(";")[0]]


def test_an_answer_cut_at_the_token_limit_says_so(tokenizer: Tokenizer) -> None:
    reader = MessageReader(use(), frozenset())
    grow(reader, deltas(tokenizer, CALL, 3, [], end="length"))
    assert reader.finish_reason == "length"


def test_a_message_of_calls_alone_has_no_content(tokenizer: Tokenizer) -> None:
    message = whole_message(grow(MessageReader(use(), frozenset()), deltas(tokenizer, CALL, 3, [])))
    assert message.content is None
    assert message.reasoning is None


def test_thoughts_can_be_left_out(tokenizer: Tokenizer) -> None:
    reader = MessageReader(use(), frozenset(), show_reasoning=False)
    message = whole_message(grow(reader, deltas(tokenizer, TEXT, 3, [])))
    assert message.reasoning is None
    assert message.content == "Let me add."


def test_without_tools_calls_are_content(tokenizer: Tokenizer) -> None:
    reader = MessageReader(None, frozenset())
    message = whole_message(grow(reader, deltas(tokenizer, CALL, 3, [])))
    assert (message.content, message.tool_calls, reader.finish_reason) == (CALL, None, "stop")
