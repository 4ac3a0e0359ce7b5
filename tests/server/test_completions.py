"""/v1/completions against a live server whose steps commit several tokens."""

from __future__ import annotations

from typing import Any

import pytest

from models.tokenizer import Tokenizer
from tests.server.live import LiveServer
from tests.server.sse import stream

#: many drafts are accepted at this temperature, and the text is varied
LIVELY: dict[str, Any] = {"temperature": 100.0, "seed": 7, "max_tokens": 24, "ignore_eos": True}
PROMPT = "def add(a, b):"


def test_an_answer_has_openais_shape(server: LiveServer) -> None:
    answer = server.complete(prompt=PROMPT, max_tokens=5, temperature=0, ignore_eos=True)
    assert answer["id"].startswith("cmpl-")
    assert answer["object"] == "text_completion"
    assert answer["model"] == "tiny-tidar"
    assert answer["choices"][0].keys() == {"index", "text", "logprobs", "finish_reason", "stop_reason"}
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5


def test_sixteen_tokens_are_generated_unless_asked_otherwise(server: LiveServer) -> None:
    assert server.complete(prompt=PROMPT, ignore_eos=True)["usage"]["completion_tokens"] == 16


def test_the_default_limit_shrinks_where_the_context_ends(server: LiveServer) -> None:
    answer = server.complete(prompt=[5] * 250, ignore_eos=True)
    assert answer["usage"] == {
        "prompt_tokens": 250,
        "completion_tokens": 6,
        "total_tokens": 256,
        "prompt_tokens_details": {"cached_tokens": answer["usage"]["prompt_tokens_details"]["cached_tokens"]},
    }


def test_steps_commit_several_tokens(server: LiveServer) -> None:
    metrics = server.complete(prompt=PROMPT, **LIVELY, return_metrics=True)["metrics"]
    assert metrics["tokens_per_forward"] > 2
    assert sum(metrics["acceptance_lengths"]) == metrics["decode_forwards"]
    committed = sum(length * count for length, count in enumerate(metrics["acceptance_lengths"], start=1))
    assert committed == pytest.approx(metrics["tokens_per_forward"] * metrics["decode_forwards"])


def test_a_seed_fixes_the_text(server: LiveServer) -> None:
    first, second = (server.complete(prompt=PROMPT, **LIVELY)["choices"][0]["text"] for _ in range(2))
    assert first == second
    assert server.complete(prompt=PROMPT, **{**LIVELY, "seed": 8})["choices"][0]["text"] != first


def test_prompts_may_be_text_or_token_ids(server: LiveServer, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(PROMPT)
    texts = [
        server.complete(prompt=prompt, **LIVELY)["choices"][0]["text"] for prompt in (PROMPT, [PROMPT], ids, [ids])
    ]
    assert len(set(texts)) == 1


def test_choices_are_numbered_prompt_by_prompt(server: LiveServer, tokenizer: Tokenizer) -> None:
    answer = server.complete(prompt=["a", "b = 1"], n=3, **LIVELY, echo=True)
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    assert [choice["text"][0] for choice in answer["choices"]] == ["a", "a", "a", "b", "b", "b"]
    assert len({choice["text"] for choice in answer["choices"]}) == 6
    prompt_tokens = sum(len(tokenizer.encode(prompt)) for prompt in ("a", "b = 1"))
    assert answer["usage"]["prompt_tokens"] == prompt_tokens
    assert answer["usage"]["completion_tokens"] == 6 * LIVELY["max_tokens"]


def test_the_first_of_several_choices_is_the_one_a_single_choice_gives(server: LiveServer) -> None:
    single = server.complete(prompt=PROMPT, **LIVELY)["choices"][0]["text"]
    assert server.complete(prompt=PROMPT, n=2, **LIVELY)["choices"][0]["text"] == single


def test_best_of_that_equals_n_changes_nothing(server: LiveServer) -> None:
    assert len(server.complete(prompt=PROMPT, n=2, best_of=2, max_tokens=2)["choices"]) == 2


def test_echo_puts_the_prompt_before_the_completion(server: LiveServer) -> None:
    plain = server.complete(prompt=PROMPT, **LIVELY)["choices"][0]["text"]
    assert server.complete(prompt=PROMPT, **LIVELY, echo=True)["choices"][0]["text"] == PROMPT + plain


def test_token_ids_are_returned_on_request(server: LiveServer, tokenizer: Tokenizer) -> None:
    choice = server.complete(prompt=PROMPT, **LIVELY, return_token_ids=True)["choices"][0]
    assert choice["prompt_token_ids"] == tokenizer.encode(PROMPT)
    assert len(choice["token_ids"]) == LIVELY["max_tokens"]
    assert tokenizer.decode(choice["token_ids"]) == choice["text"]


def test_special_tokens_show_only_when_asked_for(server: LiveServer) -> None:
    fields = {"prompt": PROMPT, "allowed_token_ids": [2], "max_tokens": 2, "temperature": 0}
    assert server.complete(**fields)["choices"][0]["text"] == ""
    assert server.complete(**fields, skip_special_tokens=False)["choices"][0]["text"] == "<|im_start|>" * 2


def test_a_long_prompt_is_cut_from_the_left_on_request(server: LiveServer) -> None:
    prompt = list(range(10, 310))
    kept = server.complete(prompt=prompt[-20:], **LIVELY)["choices"][0]["text"]
    answer = server.complete(prompt=prompt, truncate_prompt_tokens=20, **LIVELY)
    assert answer["choices"][0]["text"] == kept
    assert answer["usage"]["prompt_tokens"] == 20
    filled = server.complete(prompt=prompt, truncate_prompt_tokens=-1, **LIVELY)
    assert filled["usage"]["total_tokens"] == 256


def test_the_prefix_cache_shows_in_usage(server: LiveServer) -> None:
    prompt = list(range(300, 380))
    first = server.complete(prompt=prompt, max_tokens=1)["usage"]["prompt_tokens_details"]["cached_tokens"]
    again = server.complete(prompt=prompt, max_tokens=1)["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert first == 0
    assert again >= 64


def test_a_stream_carries_the_same_text_tokens_and_logprobs(server: LiveServer) -> None:
    fields = {"prompt": PROMPT, **LIVELY, "logprobs": 2, "return_token_ids": True}
    whole = server.complete(**fields)["choices"][0]
    parts = [chunk["choices"][0] for chunk in stream(f"{server.url}/v1/completions", fields)]
    assert "".join(part["text"] for part in parts) == whole["text"]
    assert [token for part in parts for token in part["token_ids"]] == whole["token_ids"]
    for field in ("tokens", "top_logprobs", "text_offset"):
        assert [item for part in parts for item in part["logprobs"][field]] == whole["logprobs"][field]
    assert [part["finish_reason"] for part in parts] == [None] * (len(parts) - 1) + ["length"]
    assert len(parts) < LIVELY["max_tokens"]


def test_a_stream_says_its_usage_at_the_end_or_all_along(server: LiveServer) -> None:
    fields = {"prompt": PROMPT, **LIVELY}
    plain = stream(f"{server.url}/v1/completions", fields)
    assert all("usage" not in chunk for chunk in plain)
    final = stream(f"{server.url}/v1/completions", {**fields, "stream_options": {"include_usage": True}})
    assert all(chunk["usage"] is None for chunk in final[:-1])
    assert final[-1]["choices"] == []
    assert final[-1]["usage"]["completion_tokens"] == LIVELY["max_tokens"]
    options = {"include_usage": True, "continuous_usage_stats": True}
    running = stream(f"{server.url}/v1/completions", {**fields, "stream_options": options})
    counts = [chunk["usage"]["completion_tokens"] for chunk in running]
    assert counts == sorted(counts)
    assert counts[-1] == LIVELY["max_tokens"]


def test_a_stream_of_several_choices_keeps_them_apart(server: LiveServer) -> None:
    fields = {"prompt": [PROMPT, "x"], "n": 2, **LIVELY, "echo": True}
    whole = [choice["text"] for choice in server.complete(**fields)["choices"]]
    texts = [""] * 4
    for chunk in stream(f"{server.url}/v1/completions", fields):
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == whole


def test_the_request_id_of_the_body_names_the_answer(server: LiveServer) -> None:
    assert server.complete(prompt=PROMPT, max_tokens=1, request_id="mine-1")["id"] == "cmpl-mine-1"


def test_two_requests_may_use_one_id(server: LiveServer) -> None:
    answer = server.complete(prompt=["a", "a"], max_tokens=1, request_id="twice")
    assert len(answer["choices"]) == 2
