"""Requests to /v1/responses that cannot be served."""

from __future__ import annotations

from functools import reduce
from typing import Any

from tests.server.bad_requests import USER, Bad

RESPONSES = "/v1/responses"


#: deeper than JSON can be written, though not too deep to be read
DEEP: dict[str, Any] = reduce(lambda inner, _: {"not": inner}, range(400), {})


def response(param: str | None, **fields: Any) -> Bad:
    return Bad(RESPONSES, {"input": "x", **fields}, param)


RESPONSE_REQUESTS = [
    Bad(RESPONSES, {}, "input"),
    Bad(RESPONSES, {"input": "x", "model": "gpt-4"}, "model", 404),
    Bad(RESPONSES, {"input": "x", "previous_response_id": "resp_nobody"}, "previous_response_id", 404),
    response("input", input=[]),
    response("input", input=5),
    response("input", input="word " * 400),
    response("input", input="\ud800"),
    response("input[0]", input=["x"]),
    response("input[0].role", input=[{"content": "x"}]),
    response("input[0].role", input=[{"role": "robot", "content": "x"}]),
    response("input[0].type", input=[{"type": "item_reference", "id": "msg_1"}]),
    response("input[0].content", input=[{"role": "user"}]),
    response("input[0].content", input=[{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]),
    response("input[1].call_id", input=[USER, {"type": "function_call", "name": "f", "arguments": "{}"}]),
    response("input[1].name", input=[USER, {"type": "function_call", "call_id": "1", "arguments": "{}"}]),
    response("input[1].output", input=[USER, {"type": "function_call_output", "call_id": "1"}]),
    response("max_output_tokens", max_output_tokens=0),
    response("max_output_tokens", max_output_tokens=256),
    response("max_output_tokens", max_output_tokens="5"),
    response("temperature", temperature=-1),
    response("top_p", top_p=2),
    response("top_logprobs", top_logprobs=2),
    response("top_logprobs", top_logprobs=21, include=["message.output_text.logprobs"]),
    response("include", include=["file_search_call.results"]),
    response("n", n=2),
    response("stop", stop=""),
    response("store", store=False, background=True),
    response("store", store="yes"),
    response("metadata", metadata={str(number): "x" for number in range(17)}),
    response("metadata", metadata=[]),
    response("prompt", prompt={"id": "pmpt_1"}),
    response("conversation", conversation="conv_1"),
    response("prompt_logprobs", prompt_logprobs=1),
    response("stream_options", stream=True, stream_options={"include_usage": True}),
    response("stream_options", stream=True, stream_options={"include_steps": True}),
    response("stream_options", stream_options={"include_obfuscation": False}),
    response("truncation", truncation="most"),
    response("text.format.type", text={"format": {"type": "xml"}}),
    response("text.format.schema", text={"format": {"type": "json_schema", "name": "a"}}),
    response("text.surprise", text={"surprise": 1}),
    response("text.format", text={"format": {"type": "json_schema", "name": "a", "schema": {"type": "nothing"}}}),
    response("reasoning", reasoning="high"),
    response("tools[0].type", tools=[{"type": "web_search"}]),
    response("tools[0].name", tools=[{"type": "function"}]),
    response("tool_choice", tools=[{"type": "function", "name": "f"}], tool_choice="any"),
    response("tool_choice", tools=[{"type": "function", "name": "f"}], tool_choice={"type": "function", "name": "g"}),
    response("tool_choice", tool_choice="required"),
    response("service_tier", service_tier="best"),
    response("user", user="\ud800"),
    response("prompt_cache_key", prompt_cache_key="\ud800", stream=True),
    response("reasoning", reasoning={"effort": "\ud800"}, background=True),
    response("input", input=[{"role": "user", "content": "x", "id": "\ud800"}]),
    response("tools", tools=[{"type": "function", "name": "f", "description": "\ud800"}]),
    response("tools", tools=[{"type": "function", "name": "f", "parameters": DEEP}]),
]
