"""/v1/chat/completions against a live server."""

from __future__ import annotations

from typing import Any

import pytest

from models.tokenizer import Tokenizer
from tests.server.live import LiveServer
from tests.server.sse import stream

LIVELY: dict[str, Any] = {"temperature": 100.0, "seed": 7, "max_tokens": 16, "ignore_eos": True}
MESSAGES = [{"role": "system", "content": "You write Python."}, {"role": "user", "content": "Add two numbers."}]
WRITTEN = (
    "<|im_start|>system\nYou write Python.<|im_end|>\n<|im_start|>user\nAdd two numbers.<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def test_an_answer_has_openais_shape(server: LiveServer) -> None:
    answer = server.chat(messages=MESSAGES, **LIVELY)
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    message = answer["choices"][0]["message"]
    assert message["role"] == "assistant"
    assert message["content"]
    assert answer["usage"]["completion_tokens"] == 16


def test_the_conversation_is_written_by_the_models_template(server: LiveServer, tokenizer: Tokenizer) -> None:
    answer = server.chat(messages=MESSAGES, **LIVELY, return_token_ids=True)
    assert answer["prompt_token_ids"] == tokenizer.encode(WRITTEN, add_special_tokens=False)
    same = server.complete(prompt=answer["prompt_token_ids"], **LIVELY)["choices"][0]["text"]
    assert answer["choices"][0]["message"]["content"] == same


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
def test_every_role_is_understood(server: LiveServer, role: str) -> None:
    server.chat(messages=[{"role": role, "content": "hi"}], max_tokens=1)


def test_text_parts_are_joined(server: LiveServer) -> None:
    parts = [{"type": "text", "text": "Add two "}, {"type": "text", "text": "numbers."}]
    in_parts = server.chat(messages=[MESSAGES[0], {"role": "user", "content": parts}], **LIVELY)
    assert in_parts["choices"][0]["message"] == server.chat(messages=MESSAGES, **LIVELY)["choices"][0]["message"]


def test_the_answer_may_run_to_the_end_of_the_context(server: LiveServer) -> None:
    answer = server.chat(messages=MESSAGES, temperature=100, seed=1, ignore_eos=True)
    assert answer["usage"]["total_tokens"] == 256
    assert answer["choices"][0]["finish_reason"] == "length"


def test_max_completion_tokens_is_the_newer_name(server: LiveServer) -> None:
    answer = server.chat(messages=MESSAGES, max_completion_tokens=3, max_tokens=9, ignore_eos=True)
    assert answer["usage"]["completion_tokens"] == 3


def test_the_assistants_own_last_message_can_be_continued(server: LiveServer, tokenizer: Tokenizer) -> None:
    messages = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "one, two"}]
    answer = server.chat(messages=messages, max_tokens=1, continue_final_message=True, return_token_ids=True)
    written = tokenizer.decode(answer["prompt_token_ids"], skip_special_tokens=False)
    assert written == "<|im_start|>user\nCount.<|im_end|>\n<|im_start|>assistant\none, two"


def test_without_a_generation_prompt_the_assistants_turn_is_not_opened(
    server: LiveServer, tokenizer: Tokenizer
) -> None:
    answer = server.chat(messages=MESSAGES, max_tokens=1, add_generation_prompt=False, return_token_ids=True)
    written = tokenizer.decode(answer["prompt_token_ids"], skip_special_tokens=False)
    assert written == WRITTEN.removesuffix("<|im_start|>assistant\n")


def test_a_stream_opens_with_the_role_and_carries_the_same_text(server: LiveServer) -> None:
    fields = {"messages": MESSAGES, **LIVELY, "n": 2, "stream_options": {"include_usage": True}}
    whole = server.chat(**{**fields, "stream_options": None})
    chunks = stream(f"{server.url}/v1/chat/completions", fields)
    texts, roles, ends = ["", ""], [[], []], [None, None]
    for chunk in chunks[:-1]:
        assert chunk["object"] == "chat.completion.chunk"
        choice = chunk["choices"][0]
        texts[choice["index"]] += choice["delta"].get("content", "")
        roles[choice["index"]].append(choice["delta"].get("role"))
        ends[choice["index"]] = choice["finish_reason"]
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]
    assert all(each[0] == "assistant" and not any(each[1:]) for each in roles)
    assert ends == ["length", "length"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 32


def test_a_stop_string_ends_the_answer(server: LiveServer) -> None:
    text = server.chat(messages=MESSAGES, **LIVELY)["choices"][0]["message"]["content"]
    stop = text[4:7]
    choice = server.chat(messages=MESSAGES, **LIVELY, stop=stop)["choices"][0]
    assert choice["message"]["content"] == text[: text.index(stop)]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)


def test_tools_may_be_offered_if_none_is_to_be_used(server: LiveServer) -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    server.chat(messages=MESSAGES, tools=tools, tool_choice="none", max_tokens=1)


def test_a_plain_text_format_is_accepted(server: LiveServer) -> None:
    server.chat(messages=MESSAGES, response_format={"type": "text"}, max_tokens=1)
