"""Streams that say which forwards brought their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.messages import Forward
from server.steps import source_of
from tests.server.live import LiveServer
from tests.server.sse import stream

STEPS = {"include_steps": True}
PROMPT = {"prompt": "def f(", "seed": 7, "max_tokens": 48, "ignore_eos": True, "return_token_ids": True}


def choices(chunks: list[dict[str, Any]], index: int = 0) -> list[dict[str, Any]]:
    return [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]


def taken(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [step for part in parts if "tidar" in part for step in part["tidar"]["steps"]]


def words(steps: list[dict[str, Any]], field: str = "text") -> str:
    return "".join(token.get(field, "") for step in steps for token in step["tokens"])


def completed(live: LiveServer, **fields: Any) -> list[dict[str, Any]]:
    return stream(f"{live.url}/v1/completions", {**PROMPT, "stream_options": STEPS, **fields})


@pytest.mark.parametrize(
    ("forward", "sources"),
    [
        (Forward(4, 3, 3, True), ["draft", "draft", "draft", "bonus"]),
        (Forward(2, 1, 3, True), ["draft", "correction"]),
        (Forward(1, 0, 3, True), ["correction"]),
        (Forward(2, 2, 3, True), ["draft", "draft"]),
        (Forward(1, 0, 0, False), ["ar"]),
        (Forward(2, 0, 0, True, denoised=True), ["denoised", "denoised"]),
    ],
)
def test_a_token_is_a_draft_or_the_ar_rows_own(forward: Forward, sources: list[str]) -> None:
    assert [source_of(forward, place) for place in range(forward.committed)] == sources


@pytest.mark.parametrize("temperature", [0.0, 0.8, 100.0])
def test_steps_account_for_every_token_and_all_text(server: LiveServer, temperature: float) -> None:
    parts = choices(completed(server, temperature=temperature, return_metrics=True))
    steps = taken(parts)
    assert words(steps) == "".join(part["text"] for part in parts)
    assert sum(step["committed"] for step in steps) == sum(len(part["token_ids"]) for part in parts) == 48
    for step in steps:
        assert step["accepted"] <= min(step["committed"], step["drafted"])
        sources = [token["source"] for token in step["tokens"]]
        assert len(sources) == step["committed"]
        assert sources[: step["accepted"]] == ["draft"] * step["accepted"]
        assert "draft" not in sources[step["accepted"] :]
    assert [step["decode"] for step in steps] == [False] + [True] * (len(steps) - 1)
    assert temperature != 100 or any(step["accepted"] > 1 for step in steps)


def test_steps_agree_with_the_requests_own_metrics(server: LiveServer) -> None:
    chunks = completed(server, temperature=100, return_metrics=True)
    decoding = [step for step in taken(choices(chunks)) if step["decode"]]
    metrics = chunks[-1]["metrics"]
    assert metrics["decode_forwards"] == len(decoding)
    assert metrics["tokens_per_forward"] == sum(step["committed"] for step in decoding) / len(decoding)


def test_asking_for_steps_changes_nothing_else(server: LiveServer) -> None:
    asked = completed(server, temperature=100, n=2)
    plain = completed(server, temperature=100, n=2, stream_options=None)
    for index in range(2):
        said, usual = choices(asked, index), choices(plain, index)
        assert not any("tidar" in part for part in usual)
        assert [token for part in said for token in part["token_ids"]] == [
            t for part in usual for t in part["token_ids"]
        ]
        assert "".join(part["text"] for part in said) == "".join(part["text"] for part in usual)


def test_a_stop_string_leaves_out_the_tokens_it_cut(server: LiveServer) -> None:
    whole = "".join(part["text"] for part in choices(completed(server, temperature=100)))
    stop = whole[20:23]
    parts = choices(completed(server, temperature=100, stop=stop))
    steps = taken(parts)
    assert words(steps) == "".join(part["text"] for part in parts) == whole[: whole.index(stop)]
    assert sum(len(step["tokens"]) for step in steps) == sum(len(part["token_ids"]) for part in parts)


def test_a_chats_thoughts_and_answer_are_told_apart(hermes_server: LiveServer) -> None:
    body = {
        "messages": [{"role": "user", "content": "Add."}],
        "structured_outputs": {"grammar": r'start: "<think>\nthen " /[a-z]{3}/ "\n</think>\n" /[a-z ]{8}/'},
        "temperature": 100,
        "seed": 3,
        "max_tokens": 64,
        "stream_options": STEPS,
    }
    chunks = stream(f"{hermes_server.url}/v1/chat/completions", body)
    parts = choices(chunks)
    steps = taken(parts)
    for field, delta in (("text", "content"), ("reasoning", "reasoning")):
        assert words(steps, field) == "".join(part["delta"].get(delta) or "" for part in parts)
    assert "then" in words(steps, "reasoning")
    hidden = choices(stream(f"{hermes_server.url}/v1/chat/completions", {**body, "include_reasoning": False}))
    assert words(taken(hidden)) == words(steps)
    assert not words(taken(hidden), "reasoning")


@pytest.fixture(scope="module")
def smooth(served_model: Path) -> Iterator[LiveServer]:
    """Runs one ahead, smooths, and joins tokens into chunks of five."""
    flags = ("--stream-smoothing", "--stream-interval", "5", "--async-scheduling")
    with LiveServer(served_model, "--decoding", "tidar", "--predrafts", "full", *flags) as live:
        yield live


def test_steps_stay_whole_where_streams_are_smoothed_joined_and_run_ahead(smooth: LiveServer) -> None:
    parts = choices(completed(smooth, temperature=100))
    steps = taken(parts)
    assert all(len(step["tokens"]) == step["committed"] for step in steps)
    assert words(steps) == "".join(part["text"] for part in parts)
    assert any(step["accepted"] > 1 for step in steps)
    assert len(parts) < len(steps)
