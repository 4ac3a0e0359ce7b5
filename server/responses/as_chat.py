"""A request for a response as the chat request it amounts to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from server.errors import ApiError, bad_request
from server.protocol.chat import ChatRequest, Message
from server.protocol.responses import FunctionChoice, ResponsesRequest, TextFormat
from server.protocol.sampling import SamplingRequest

#: fields of chat requests, and the ones that gave them here
RENAMED = {
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "messages": "input",  # a word of its own in many sentences, so only as a param
}
#: shared fields that a response handles itself
OWN = {"n", "stream", "stream_options"}


def chat_request(body: ResponsesRequest, messages: list[Message]) -> ChatRequest:
    """Raises a 400 that names the field whose content chat does not take."""
    shared = {name: getattr(body, name) for name in SamplingRequest.model_fields if name not in OWN}
    own: dict[str, Any] = {
        "messages": messages,
        "max_completion_tokens": body.max_output_tokens,
        "logprobs": body.wants_logprobs,
        "top_logprobs": body.top_logprobs if body.wants_logprobs else None,
        "chat_template_kwargs": _template_variables(body),
    }
    if body.text is not None and body.text.format is not None:
        own["response_format"] = _response_format(body.text.format)
    if body.tools:
        own["tools"] = [tool.for_chat() for tool in body.tools]
        own["parallel_tool_calls"] = body.parallel_tool_calls
    if body.tool_choice is not None:
        own["tool_choice"] = _tool_choice(body.tool_choice)
    if body.truncation == "auto" and body.truncate_prompt_tokens is None:
        own["truncate_prompt_tokens"] = -1
    try:
        return ChatRequest.model_validate(shared | own)
    except ValidationError as error:
        first = error.errors()[0]
        field = RENAMED.get(str(first["loc"][0]), str(first["loc"][0]))
        raise bad_request(f"{field} is not usable: {first['msg']}.", field) from None


@contextlib.contextmanager
def fields_renamed() -> Iterator[None]:
    """Inside, refusals of the chat request name this endpoint's fields."""
    try:
        yield
    except ApiError as error:
        for theirs, ours in RENAMED.items():
            if "_" in theirs:
                error.detail = error.detail.replace(theirs, ours)
            if error.param is not None and error.param.startswith(theirs):
                error.param = ours
        raise


def _template_variables(body: ResponsesRequest) -> dict[str, Any] | None:
    effort = body.reasoning.effort if body.reasoning else None
    if effort is None:
        return body.chat_template_kwargs
    return {"reasoning_effort": effort, **(body.chat_template_kwargs or {})}


def _tool_choice(choice: str | FunctionChoice) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return choice
    return {"type": "function", "function": {"name": choice.name}}


def _response_format(given: TextFormat) -> dict[str, Any]:
    if given.type != "json_schema":
        return {"type": given.type}
    if given.schema_ is None:
        raise bad_request("A json_schema format needs its schema.", "text.format.schema")
    named = {"name": given.name or "answer", "schema": given.schema_}
    more = {"description": given.description, "strict": given.strict}
    return {"type": "json_schema", "json_schema": named | {k: v for k, v in more.items() if v is not None}}
