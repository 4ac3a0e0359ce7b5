"""openai-python's tools and reasoning, as its users use them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.server.live import LiveServer

MODEL = "tiny-tidar"
MESSAGES: Any = [{"role": "user", "content": "Add 1 and 2."}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}},
                "required": ["a", "b"],
                "additionalProperties": False,
            },
            "strict": True,
        },
    }
]
ARGUMENTS = '{"a": 3, "b": true}'
CALL = f'<tool_call>\n{{"name": "add", "arguments": {ARGUMENTS}}}\n</tool_call>'
LIVELY: dict[str, Any] = {"temperature": 2.0, "seed": 3, "max_tokens": 150, "parallel_tool_calls": False}


class Add(BaseModel):
    """Adds."""

    a: int
    b: bool


@pytest.fixture
def client(tool_server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tool_server.url}/v1", api_key="unused", max_retries=0) as made:
        yield made


@pytest.fixture
def hermes(hermes_server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{hermes_server.url}/v1", api_key="unused", max_retries=0) as made:
        yield made


def say(text: str) -> dict[str, Any]:
    """Fields that make any model say just this."""
    return {"extra_body": {"structured_outputs": {"grammar": f"start: {json.dumps(text)}"}}, "max_tokens": 150}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_forced_call_and_its_answer(client: openai.OpenAI, choice: Any) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=TOOLS, tool_choice=choice, **LIVELY)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function"
    assert call.function.name == "add"
    Add.model_validate_json(call.function.arguments, strict=True)
    told: Any = [*MESSAGES, message, {"role": "tool", "tool_call_id": call.id, "content": "3"}]
    after = client.chat.completions.create(
        model=MODEL, messages=told, tools=TOOLS, tool_choice="none", temperature=2.0, max_tokens=5
    )
    assert after.choices[0].message.tool_calls is None


def test_parsed_calls(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=MODEL, messages=MESSAGES, tools=[openai.pydantic_function_tool(Add)], tool_choice="required", **LIVELY
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert isinstance(calls[0].function.parsed_arguments, Add)


def test_the_streaming_helper_collects_a_call(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, tools=TOOLS, tool_choice="required", **LIVELY
    )
    with client.chat.completions.stream(
        model=MODEL, messages=MESSAGES, tools=TOOLS, tool_choice="required", **LIVELY
    ) as events:
        pieces = [event.arguments_delta for event in events if event.type == "tool_calls.function.arguments.delta"]
        final = events.get_final_completion().choices[0].message
    assert whole.choices[0].message.tool_calls is not None
    assert final.tool_calls is not None
    expected = whole.choices[0].message.tool_calls[0]
    assert expected.type == "function"
    assert final.tool_calls[0].function.arguments == expected.function.arguments == "".join(pieces)


def test_a_call_on_the_models_own_choice_in_an_async_stream(hermes_server: LiveServer) -> None:
    async def ask() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{hermes_server.url}/v1", api_key="unused") as client:
            text = f"<think>Easy.</think>I add.\n{CALL}"
            chunks = await client.chat.completions.create(
                model=MODEL, messages=MESSAGES, tools=TOOLS, stream=True, **say(text)
            )
            return [chunk.choices[0] async for chunk in chunks]

    choices = asyncio.run(ask())
    assert "".join(choice.delta.content or "" for choice in choices) == "I add."
    assert "".join(getattr(choice.delta, "reasoning", None) or "" for choice in choices) == "Easy."
    calls = [call for choice in choices for call in choice.delta.tool_calls or []]
    assert (calls[0].function.name, calls[0].function.arguments, calls[0].index) == ("add", "", 0)
    assert "".join(call.function.arguments for call in calls) == ARGUMENTS
    assert choices[-1].finish_reason == "tool_calls"


def test_thoughts_are_counted(hermes: openai.OpenAI) -> None:
    answer = hermes.chat.completions.create(model=MODEL, messages=MESSAGES, **say("<think>Easy.</think>Three."))
    message: Any = answer.choices[0].message
    assert (message.reasoning_content, message.content) == ("Easy.", "Three.")
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    thoughts = answer.usage.completion_tokens_details.reasoning_tokens
    assert thoughts is not None
    assert 0 < thoughts < answer.usage.completion_tokens


def test_tools_that_cannot_be_used_are_the_clients_exception(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=TOOLS)
    assert caught.value.param == "tool_choice"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=TOOLS * 2, tool_choice="required")
    assert caught.value.param == "tools[1].function.name"
