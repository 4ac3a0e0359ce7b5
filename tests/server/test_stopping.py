"""Stop strings, stop tokens and limits inside steps that commit several tokens."""

from __future__ import annotations

from typing import Any

import pytest

from models.tokenizer import Tokenizer
from tests.server.live import LiveServer
from tests.server.sse import stream

FREE: dict[str, Any] = {
    "prompt": "def add(a, b):",
    "temperature": 100.0,
    "seed": 3,
    "max_tokens": 16,
    "ignore_eos": True,
    "return_token_ids": True,
    "logprobs": 1,
}


@pytest.fixture(scope="module")
def free(server: LiveServer) -> dict[str, Any]:
    """The answer without any stop."""
    return dict(server.complete(**FREE)["choices"][0])


def both_ways(server: LiveServer, **fields: Any) -> tuple[dict[str, Any], int]:
    """The choice and its completion tokens; the streamed answer has to be the same."""
    whole = server.complete(**fields)
    choice, tokens = whole["choices"][0], whole["usage"]["completion_tokens"]
    chunks = stream(f"{server.url}/v1/completions", {**fields, "stream_options": {"include_usage": True}})
    parts = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert "".join(part["text"] for part in parts) == choice["text"]
    assert [token for part in parts for token in part["token_ids"]] == choice["token_ids"]
    assert parts[-1]["finish_reason"] == choice["finish_reason"]
    assert parts[-1]["stop_reason"] == choice["stop_reason"]
    assert chunks[-1]["usage"]["completion_tokens"] == tokens
    return choice, tokens


@pytest.mark.parametrize("length", range(1, 13))
def test_a_stop_string_at_every_offset_cuts_everything_at_the_same_token(
    server: LiveServer, free: dict[str, Any], tokenizer: Tokenizer, length: int
) -> None:
    """The stop string is the text of the token `length`; it may well come earlier by chance."""
    offsets = [*free["logprobs"]["text_offset"], len(free["text"])]
    stop = free["text"][offsets[length - 1] : offsets[length]]
    if not stop:
        pytest.skip("this token ends no character")
    start = free["text"].index(stop)
    ends = [n for n in range(1, 17) if offsets[n] >= start + len(stop)]
    choice, tokens = both_ways(server, **FREE, stop=stop)
    assert choice["text"] == free["text"][:start]
    assert tokens == ends[0]
    assert choice["token_ids"] == free["token_ids"][: ends[0]]
    assert choice["logprobs"]["tokens"] == free["logprobs"]["tokens"][: ends[0]]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)


@pytest.mark.parametrize("length", range(1, 10))
def test_a_stop_token_at_every_offset_ends_the_answer_there(
    server: LiveServer, free: dict[str, Any], tokenizer: Tokenizer, length: int
) -> None:
    token = free["token_ids"][length - 1]
    first = free["token_ids"].index(token) + 1
    choice, tokens = both_ways(server, **FREE, stop_token_ids=[token])
    assert tokens == first
    assert choice["token_ids"] == free["token_ids"][:first]
    assert choice["text"] == tokenizer.decode(free["token_ids"][: first - 1])
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", token)


@pytest.mark.parametrize("length", range(1, 10))
def test_max_tokens_at_every_offset_ends_the_answer_there(
    server: LiveServer, free: dict[str, Any], length: int
) -> None:
    choice, tokens = both_ways(server, **{**FREE, "max_tokens": length})
    assert tokens == length
    assert choice["token_ids"] == free["token_ids"][:length]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("length", None)


@pytest.mark.parametrize("length", range(1, 6))
def test_the_end_of_text_at_every_offset_ends_the_answer_there(server: LiveServer, length: int) -> None:
    """With only two tokens allowed and the first `length` forbidden to be the end, the end comes next."""
    fields = {**FREE, "temperature": 0, "ignore_eos": False, "allowed_token_ids": [0, 50]}
    fields |= {"logit_bias": {"0": 100}, "min_tokens": length}
    choice, tokens = both_ways(server, **fields)
    assert tokens == length + 1
    assert choice["token_ids"] == [50] * length + [0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", None)
    assert "<|endoftext|>" not in choice["text"]


def test_a_stop_string_may_be_kept_in_the_answer(server: LiveServer, free: dict[str, Any]) -> None:
    stop = free["text"][5:8]
    choice, _ = both_ways(server, **FREE, stop=[stop], include_stop_str_in_output=True)
    assert choice["text"] == free["text"][: free["text"].index(stop) + 3]


def test_a_stop_string_that_begins_but_does_not_end_is_shown(server: LiveServer, free: dict[str, Any]) -> None:
    choice, _ = both_ways(server, **FREE, stop=free["text"][-2:] + "never")
    assert choice["text"] == free["text"]
    assert choice["finish_reason"] == "length"


def test_a_sequence_ended_by_a_stop_string_leaves_no_page_behind(server: LiveServer, free: dict[str, Any]) -> None:
    server.complete(**{**FREE, "max_tokens": 200}, stop=free["text"][5:8])
    server.wait_until_idle()
