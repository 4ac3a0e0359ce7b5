"""Tool calls and thoughts against live servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from models.tokenizer import Tokenizer
from tests.server.live import LiveServer
from tests.server.sse import stream

MESSAGES = [{"role": "user", "content": "Add 1 and 2."}]
ADD: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", None, 2.5]}},
    "required": ["a", "b"],
}
TOOLS = [
    {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": ADD}},
    {"type": "function", "function": {"name": "now"}},
]
NAMED = {"type": "function", "function": {"name": "add"}}
LIVELY: dict[str, Any] = {"temperature": 2.0, "max_tokens": 120, "tools": TOOLS, "parallel_tool_calls": False}
ARGUMENTS = '{"a": 3, "b": "x"}'
CALL = f'<tool_call>\n{{"name": "add", "arguments": {ARGUMENTS}}}\n</tool_call>'


@pytest.fixture(scope="module")
def plain(roomy_model: Path) -> Iterator[LiveServer]:
    """One token at a time."""
    with LiveServer(roomy_model, "--decoding", "ar") as live:
        yield live


def only(answer: dict[str, Any]) -> dict[str, Any]:
    (choice,) = answer["choices"]
    return dict(choice)


def say(text: str) -> dict[str, Any]:
    """Fields that make any model say just this."""
    return {"structured_outputs": {"grammar": f"start: {json.dumps(text)}"}, "max_tokens": 150, "tools": TOOLS}


def grown(chunks: list[dict[str, Any]], index: int = 0) -> dict[str, Any]:
    """A streamed choice put together as clients do it."""
    whole: dict[str, Any] = {"content": "", "reasoning": "", "calls": [], "tokens": [], "logprobs": [], "finish": None}
    for choice in (choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index):
        assert whole["finish"] is None
        delta = choice["delta"]
        whole["content"] += delta.get("content") or ""
        whole["reasoning"] += delta.get("reasoning") or ""
        assert delta.get("reasoning") == delta.get("reasoning_content")
        for call in delta.get("tool_calls", []):
            if "id" in call:
                assert (call["type"], call["function"]["arguments"]) == ("function", "")
                whole["calls"].append({"id": call["id"], "name": call["function"]["name"], "arguments": ""})
            assert call["index"] == len(whole["calls"]) - 1
            whole["calls"][-1]["arguments"] += call["function"]["arguments"]
        whole["tokens"] += choice.get("token_ids") or []
        whole["logprobs"] += (choice.get("logprobs") or {}).get("content") or []
        whole["finish"] = choice["finish_reason"]
    return whole


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
@pytest.mark.parametrize("seed", range(4))
def test_a_forced_call_is_valid_and_the_same_with_and_without_drafts(
    tool_server: LiveServer, plain: LiveServer, choice: Any, seed: int
) -> None:
    fields = {"messages": MESSAGES, "tool_choice": choice, "seed": seed, "return_token_ids": True, **LIVELY}
    body = tool_server.chat(**fields, return_metrics=True)
    assert body["metrics"]["tokens_per_forward"] > 1
    answer = only(body)
    message = answer["message"]
    assert message["content"] is None
    (call,) = message["tool_calls"]
    assert call["type"] == "function"
    assert call["id"].startswith("call_")
    assert call["function"]["name"] in (("add", "now") if choice == "required" else ("add",))
    arguments = json.loads(call["function"]["arguments"])
    jsonschema.validate(arguments, ADD if call["function"]["name"] == "add" else {"maxProperties": 0})
    assert answer["finish_reason"] == "tool_calls"
    single = only(plain.chat(**fields))
    assert answer["token_ids"] == single["token_ids"]
    assert call["function"] == single["message"]["tool_calls"][0]["function"]


@pytest.mark.parametrize("name", ["hermes", "llama3_json", "mistral"])
def test_a_forced_call_comes_in_the_models_own_format(roomy_model: Path, name: str) -> None:
    with LiveServer(roomy_model, "--tool-call-parser", name) as live:
        fields = {"messages": MESSAGES, "tool_choice": "required", "seed": 1, "return_token_ids": True, **LIVELY}
        choice = only(live.chat(**fields))
        (call,) = choice["message"]["tool_calls"]
        assert (len(call["id"]) == 9) == (name == "mistral")
        written = live.post("/detokenize", {"tokens": choice["token_ids"]}).json()["prompt"]
        openings = {"hermes": "<tool_call>\n{", "llama3_json": '{"name": ', "mistral": "[TOOL_CALLS]"}
        assert written.startswith(openings[name])
        assert call["function"]["arguments"] in written


def test_streamed_calls_are_the_whole_ones_in_pieces(tool_server: LiveServer) -> None:
    fields = {"messages": MESSAGES, "tool_choice": "required", "seed": 5, **LIVELY, "n": 3}
    fields |= {"logprobs": True, "return_token_ids": True, "parallel_tool_calls": None}
    whole = tool_server.chat(**fields)
    chunks = stream(f"{tool_server.url}/v1/chat/completions", {**fields, "stream_options": {"include_usage": True}})
    for choice in whole["choices"]:
        streamed = grown(chunks, choice["index"])
        assert streamed["tokens"] == choice["token_ids"]
        assert [entry["token"] for entry in streamed["logprobs"]] == [
            entry["token"] for entry in choice["logprobs"]["content"]
        ]
        functions = [call["function"] for call in choice["message"]["tool_calls"]]
        assert [{"name": call["name"], "arguments": call["arguments"]} for call in streamed["calls"]] == functions
        assert streamed["content"] == ""
        assert streamed["finish"] == choice["finish_reason"]
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_a_call_on_the_models_own_choice(hermes_server: LiveServer) -> None:
    fields = {"messages": MESSAGES, **say(f"Let me add.\n\n{CALL}\n{CALL}")}
    choice = only(hermes_server.chat(**fields))
    assert choice["message"]["content"] == "Let me add."
    functions = [call["function"] for call in choice["message"]["tool_calls"]]
    assert functions == [{"name": "add", "arguments": ARGUMENTS}] * 2
    assert choice["finish_reason"] == "tool_calls"
    streamed = grown(stream(f"{hermes_server.url}/v1/chat/completions", fields))
    assert streamed["content"] == "Let me add."
    assert [call["arguments"] for call in streamed["calls"]] == [ARGUMENTS] * 2
    assert streamed["finish"] == "tool_calls"


def test_parallel_calls_can_be_refused(hermes_server: LiveServer) -> None:
    choice = only(hermes_server.chat(messages=MESSAGES, **say(f"{CALL}\n{CALL}"), parallel_tool_calls=False))
    assert len(choice["message"]["tool_calls"]) == 1


def test_a_model_that_writes_nonsense_is_quoted(hermes_server: LiveServer) -> None:
    for text in ('<tool_call>{"name": "sub", "arguments": {}}</tool_call>', "<tool_call>now</tool_call>"):
        choice = only(hermes_server.chat(messages=MESSAGES, **say(text)))
        assert choice["message"]["content"] == text
        assert "tool_calls" not in choice["message"]
        assert choice["finish_reason"] == "stop"


def test_calls_are_text_where_none_is_to_be_used(hermes_server: LiveServer) -> None:
    choice = only(hermes_server.chat(messages=MESSAGES, **say(CALL), tool_choice="none"))
    assert (choice["message"]["content"], choice["finish_reason"]) == (CALL, "stop")


@pytest.mark.parametrize("max_tokens", [20, 30, 40])
def test_a_call_cut_short_is_told_as_far_as_it_goes(hermes_server: LiveServer, max_tokens: int) -> None:
    fields = {"messages": MESSAGES, **say(CALL), "max_tokens": max_tokens}
    choice = only(hermes_server.chat(**fields))
    streamed = grown(stream(f"{hermes_server.url}/v1/chat/completions", fields))
    assert choice["finish_reason"] == streamed["finish"] == "length"
    assert streamed["content"] == (choice["message"]["content"] or "")
    calls = choice["message"].get("tool_calls", [])
    assert [call["arguments"] for call in streamed["calls"]] == [call["function"]["arguments"] for call in calls]
    assert all(ARGUMENTS.startswith(call["arguments"]) for call in streamed["calls"])


def test_thoughts_are_told_apart_and_counted(hermes_server: LiveServer, tokenizer: Tokenizer) -> None:
    thoughts = "<think>\nHm, three; yes.\n</think>"
    fields = {"messages": MESSAGES, **say(f"{thoughts}\n\nThree; or so. {CALL}"), "return_token_ids": True}
    answer = hermes_server.chat(**fields)
    message = only(answer)["message"]
    assert (message["reasoning"], message["content"]) == ("Hm, three; yes.", "Three; or so.")
    assert message["tool_calls"][0]["function"]["arguments"] == ARGUMENTS
    ids = only(answer)["token_ids"]
    count = next(n for n in range(len(ids)) if tokenizer.decode(ids[:n]).startswith(thoughts))
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == count
    assert answer["usage"]["completion_tokens"] == len(ids)

    chunks = stream(f"{hermes_server.url}/v1/chat/completions", {**fields, "stream_options": {"include_usage": True}})
    streamed = grown(chunks)
    assert (streamed["reasoning"], streamed["content"]) == (message["reasoning"], message["content"])
    assert streamed["tokens"] == ids
    assert chunks[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"] == count

    stopped = only(hermes_server.chat(**{**fields, "stop": ";"}))
    assert stopped["message"]["reasoning"] == "Hm, three; yes."
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("Three", "stop")


def test_thoughts_can_be_left_out(hermes_server: LiveServer) -> None:
    fields = {"messages": MESSAGES, **say("<think>Hm</think>Yes."), "include_reasoning": False}
    message = only(hermes_server.chat(**fields))["message"]
    assert (message["content"], "reasoning" in message) == ("Yes.", False)
    assert grown(stream(f"{hermes_server.url}/v1/chat/completions", fields))["reasoning"] == ""


def test_a_form_binds_the_answer_and_not_the_thoughts(hermes_server: LiveServer) -> None:
    fields = {"messages": MESSAGES, "max_tokens": 60, "temperature": 2.0, "seed": 1}
    for form, pattern in (({"choice": ["a/b", "c"]}, {"enum": ["a/b", "c"]}), ({"regex": "[a-c]/"}, {"pattern": "/"})):
        message = only(hermes_server.chat(**fields, structured_outputs=form, logit_bias={27: -100}))["message"]
        jsonschema.validate(message["content"], pattern)


def test_tools_are_described_to_models_whose_template_knows_none(tool_server: LiveServer, tokenizer: Tokenizer) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *MESSAGES]
    answer = tool_server.chat(messages=messages, tool_choice="required", **LIVELY, return_token_ids=True)
    prompt = tokenizer.decode(answer["prompt_token_ids"], skip_special_tokens=False)
    assert prompt.startswith('<|im_start|>system\nBe brief.\n\nFunctions:\n{"name": "add", "description": "Adds."')
    without = tool_server.chat(messages=messages, tool_choice="none", tools=TOOLS, max_tokens=1, return_token_ids=True)
    assert "Adds." not in tokenizer.decode(without["prompt_token_ids"])


def test_a_conversation_with_calls_goes_to_the_template(served_model: Path, tokenizer: Tokenizer) -> None:
    template = (
        "{% for tool in tools or [] %}{{ tool.function.name }};{% endfor %}{% for m in messages %}{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.arguments.a }}{% endfor %}"
        "{{ m.tool_call_id or '' }}|{% endfor %}<tool_call>"
    )
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": ARGUMENTS}}
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "5"},
    ]
    with LiveServer(served_model, "--trust-request-chat-template", "--tool-call-parser", "json") as live:
        answer = live.chat(messages=messages, tools=TOOLS, chat_template=template, max_tokens=1, return_token_ids=True)
        written = tokenizer.decode(answer["prompt_token_ids"], skip_special_tokens=False)
        assert written == "add;now;Add 1 and 2.|3|5c1|<tool_call>"
        body = {"messages": messages, "tools": TOOLS, "chat_template": template}
        assert live.post("/tokenize", body).json()["tokens"] == answer["prompt_token_ids"]


def test_unknown_parsers_are_refused_at_the_start(served_model: Path) -> None:
    for flag in ("--tool-call-parser", "--reasoning-parser"):
        with pytest.raises(AssertionError, match="none of"):
            LiveServer(served_model, flag, "zork").__enter__()
