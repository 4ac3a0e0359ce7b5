"""Log-probabilities belong to their tokens, in every shape they are asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest

from models.tokenizer import Tokenizer
from tests.server.live import LiveServer

PROMPT = "def add(a, b):"
LIVELY: dict[str, Any] = {"temperature": 100.0, "seed": 5, "max_tokens": 12, "ignore_eos": True}


def is_at(text: str, offset: int, token: str) -> bool:
    """Whether the token begins there; a broken character before it shows only together with it."""
    return "\ufffd" in token or text[offset:].lstrip("\ufffd").startswith(token)


def test_each_token_has_its_own_entry(server: LiveServer, tokenizer: Tokenizer) -> None:
    choice = server.complete(prompt=PROMPT, **LIVELY, logprobs=3, return_token_ids=True)["choices"][0]
    logprobs = choice["logprobs"]
    assert logprobs["tokens"] == [tokenizer.token_text(token) for token in choice["token_ids"]]
    for token, value, candidates in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert candidates[token] >= value
        assert len(candidates) in (3, 4)
        assert sum(map(math.exp, candidates.values())) <= 1 + 1e-6


def test_offsets_point_into_the_text(server: LiveServer) -> None:
    choice = server.complete(prompt=PROMPT, **LIVELY, logprobs=0)["choices"][0]
    for token, offset in zip(choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"], strict=True):
        assert is_at(choice["text"], offset, token)


def test_greedy_tokens_are_the_likeliest_candidates(server: LiveServer) -> None:
    logprobs = server.complete(prompt=PROMPT, temperature=0, max_tokens=12, logprobs=2)["choices"][0]["logprobs"]
    for token, value, candidates in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert next(iter(candidates)) == token
        assert value == max(candidates.values())


def test_echoed_prompts_are_scored_as_the_same_tokens_would_be_if_generated(
    server: LiveServer, tokenizer: Tokenizer
) -> None:
    generated = server.complete(
        prompt=PROMPT, temperature=0, max_tokens=10, ignore_eos=True, logprobs=1, return_token_ids=True
    )["choices"][0]
    prompt = [*tokenizer.encode(PROMPT), *generated["token_ids"]]
    scored = server.complete(prompt=prompt, echo=True, max_tokens=0, logprobs=1)
    logprobs = scored["choices"][0]["logprobs"]
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["tokens"][-10:] == generated["logprobs"]["tokens"]
    assert logprobs["token_logprobs"][-10:] == pytest.approx(generated["logprobs"]["token_logprobs"], abs=1e-6)
    assert scored["choices"][0]["text"] == PROMPT + generated["text"]
    assert scored["usage"]["completion_tokens"] == 0
    assert scored["choices"][0]["finish_reason"] == "length"


def test_echo_with_generation_scores_prompt_and_completion_in_one_list(
    server: LiveServer, tokenizer: Tokenizer
) -> None:
    choice = server.complete(prompt=PROMPT, **LIVELY, echo=True, logprobs=1)["choices"][0]
    logprobs = choice["logprobs"]
    assert len(logprobs["tokens"]) == len(tokenizer.encode(PROMPT)) + LIVELY["max_tokens"]
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        assert is_at(choice["text"], offset, token)


def test_prompt_logprobs_have_vllms_shape(server: LiveServer, tokenizer: Tokenizer) -> None:
    choice = server.complete(prompt=PROMPT, max_tokens=1, prompt_logprobs=2)["choices"][0]
    ids = tokenizer.encode(PROMPT)
    assert choice["prompt_logprobs"][0] is None
    for token, candidates in zip(ids[1:], choice["prompt_logprobs"][1:], strict=True):
        assert candidates[str(token)]["decoded_token"] == tokenizer.token_text(token)
        assert {1, 2} <= {candidate["rank"] for candidate in candidates.values()}


def test_chat_logprobs_have_openais_shape(server: LiveServer) -> None:
    messages = [{"role": "user", "content": "hi"}]
    choice = server.chat(messages=messages, **LIVELY, logprobs=True, top_logprobs=2, return_token_ids=True)["choices"][
        0
    ]
    content = choice["logprobs"]["content"]
    assert len(content) == len(choice["token_ids"])
    for entry in content:
        assert len(entry["top_logprobs"]) == 2
        assert entry["top_logprobs"][0]["logprob"] >= entry["logprob"]
    assert b"".join(bytes(entry["bytes"]) for entry in content).decode(errors="replace") == choice["message"]["content"]


def test_no_logprobs_unless_asked_for(server: LiveServer) -> None:
    assert server.complete(prompt=PROMPT, max_tokens=1)["choices"][0]["logprobs"] is None
    answer = server.chat(messages=[{"role": "user", "content": "hi"}], max_tokens=1)
    assert answer["choices"][0]["logprobs"] is None
