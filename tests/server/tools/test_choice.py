"""Tools at the door: what a hostile offer may cost."""

from __future__ import annotations

import time
from typing import Any

import pytest

from server.errors import ApiError
from server.formats import Formats
from server.protocol.chat import ChatRequest
from server.tools.choice import tool_use
from server.tools.hermes import HermesParser

#: the event loop stands still for so long at most, in seconds of processor time
BLINK = 0.5


def offer(parameters: dict[str, Any]) -> ChatRequest:
    function = {"name": "f", "parameters": parameters}
    messages = [{"role": "user", "content": "x"}]
    return ChatRequest.model_validate({"messages": messages, "tools": [{"type": "function", "function": function}]})


def test_the_longest_schema_is_checked_in_the_blink_of_an_eye() -> None:
    request = offer({"anyOf": [{} for _ in range(45_000)]})
    began = time.process_time()
    assert tool_use(request, Formats(tools=HermesParser)) is not None
    assert time.process_time() - began < BLINK


@pytest.mark.parametrize("types", [1, 30_000])
def test_a_broken_schema_is_refused_as_fast(types: int) -> None:
    request = offer({"properties": {"a": {"type": [{} for _ in range(types)]}}})
    began = time.process_time()
    with pytest.raises(ApiError, match="no JSON schema") as refused:
        tool_use(request, Formats(tools=HermesParser))
    assert time.process_time() - began < BLINK
    assert refused.value.param == "tools[0].function.parameters"


def test_a_schema_names_no_rules_that_would_have_to_be_fetched() -> None:
    request = offer({"$schema": "http://192.0.2.1/none", "properties": {"a": {"$ref": "http://192.0.2.1/none"}}})
    assert tool_use(request, Formats(tools=HermesParser)) is not None
