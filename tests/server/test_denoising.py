"""A denoising model over HTTP: streams, usage, stops and refusals are those of any other model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.live import LiveServer
from tests.server.sse import stream
from tests.server.test_errors import error_of

PROMPT = "def double(x):"


@pytest.fixture(scope="module")
def denoising_server(served_model: Path) -> Iterator[LiveServer]:
    """The tiny TiDAR weights, decoded by block diffusion in blocks of 8 that take three forwards."""
    with LiveServer(
        served_model, "--decoding", "block-diffusion", "--draft-length", "8", "--denoise-steps", "3"
    ) as live:
        yield live


def test_a_stream_brings_the_text_of_the_whole_answer(denoising_server: LiveServer) -> None:
    asked = {"prompt": PROMPT, "max_tokens": 20, "temperature": 0.8, "seed": 4, "ignore_eos": True}
    whole = denoising_server.complete(**asked)
    body = {**asked, "stream_options": {"include_usage": True}}
    chunks = stream(f"{denoising_server.url}/v1/completions", body)
    text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    assert text == whole["choices"][0]["text"]
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"] == 20


def test_steps_are_denoised_and_may_bring_nothing(denoising_server: LiveServer) -> None:
    asked = {"prompt": PROMPT, "max_tokens": 20, "temperature": 0.8, "seed": 4, "ignore_eos": True}
    asked |= {"return_metrics": True, "stream_options": {"include_steps": True}}
    chunks = stream(f"{denoising_server.url}/v1/completions", asked)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    steps = [step for choice in choices for step in choice["tidar"]["steps"]]
    assert {token["source"] for step in steps for token in step["tokens"]} == {"denoised"}
    assert [step["committed"] for step in steps] == [len(step["tokens"]) for step in steps]
    assert sum(step["committed"] for step in steps) == 20
    assert any(not step["committed"] for step in steps)
    assert chunks[-1]["metrics"]["decode_forwards"] == sum(step["decode"] for step in steps)


def test_a_stop_string_cuts_text_tokens_and_logprobs(denoising_server: LiveServer) -> None:
    asked = {"prompt": PROMPT, "max_tokens": 20, "temperature": 0.0, "ignore_eos": True, "logprobs": 1}
    whole = denoising_server.complete(**asked)["choices"][0]
    word = whole["logprobs"]["tokens"][4]
    cut = denoising_server.complete(**asked, stop=[word])
    choice = cut["choices"][0]
    assert choice["text"] == whole["text"][: whole["text"].index(word)]
    assert choice["finish_reason"] == "stop"
    assert len(choice["logprobs"]["tokens"]) == len(choice["logprobs"]["token_logprobs"]) <= 5
    assert all(logprob <= 0 for logprob in choice["logprobs"]["token_logprobs"])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"structured_outputs": {"regex": "[a-z]+"}}, "structured_outputs.regex"),
        ({"bad_words": ["no way"]}, "bad_words"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
    ],
)
def test_what_needs_an_order_is_a_400(denoising_server: LiveServer, fields: dict[str, object], param: str) -> None:
    answer = denoising_server.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 4, **fields})
    error = error_of(answer, 400)
    assert error["param"] == param
    assert "any order" in error["message"] or "denoising" in error["message"]


def test_metrics_count_its_tokens_and_no_drafts(denoising_server: LiveServer) -> None:
    denoising_server.wait_until_idle()
    before = denoising_server.metrics()
    denoising_server.complete(prompt=PROMPT, max_tokens=16, temperature=0.0, ignore_eos=True)
    denoising_server.wait_until_idle()
    after = denoising_server.metrics()
    grown = {name: after[name] - before[name] for name in before}
    assert grown["tidar:generation_tokens_total"] == 16
    assert grown["tidar:steps_total"] == 6, "two blocks of 8 in three forwards each"
    assert grown["tidar:draft_tokens_total"] == grown["tidar:accepted_tokens_total"] == 0
