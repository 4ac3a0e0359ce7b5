"""Streams whose tokens leave one by one although steps commit several."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.messages import Output
from models.tokenizer import Tokenizer
from server.errors import ApiError
from server.reasoning.registry import REASONING_PARSERS
from server.smoothing import smoothed
from server.transcript import Delta, Stopping, Token, Transcript
from tests.server.live import LiveServer
from tests.server.sse import stream

STEP_SECONDS, WIDTH = 0.08, 4


def step(number: int, index: int = 0) -> Delta:
    """One step's tokens of two characters each."""
    tokens = [Token(number * WIDTH + i, 0, None, 2 * (i + 1)) for i in range(WIDTH)]
    return Delta(index, "".join(f"{token.id:02d}" for token in tokens), tokens=tokens)


async def steps(count: int, choices: int = 1) -> AsyncGenerator[Delta, None]:
    for number in range(count):
        await asyncio.sleep(STEP_SECONDS)
        for index in range(choices):
            yield step(number, index)


async def timed(deltas: AsyncGenerator[Delta, None]) -> list[tuple[float, Delta]]:
    return [(time.monotonic(), delta) async for delta in deltas]


async def test_tokens_are_spread_over_a_step() -> None:
    """After two steps the time of one is known; the median gap is then a quarter of it."""
    arrived = await timed(smoothed(steps(12)))
    assert [delta.tokens[0].id for _, delta in arrived] == list(range(12 * WIDTH))
    assert all(delta.text == f"{delta.tokens[0].id:02d}" for _, delta in arrived)
    times = [at for at, _ in arrived][2 * WIDTH :]
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    assert STEP_SECONDS / WIDTH / 2 < gaps[len(gaps) // 2] < STEP_SECONDS / WIDTH * 2
    assert gaps[-1] < STEP_SECONDS * 0.9


async def test_smoothing_delays_the_end_by_no_more_than_a_step() -> None:
    began = time.monotonic()
    await timed(smoothed(steps(6)))
    assert time.monotonic() - began < STEP_SECONDS * 8


async def test_choices_keep_their_own_order() -> None:
    arrived = [delta async for delta in smoothed(steps(5, choices=3))]
    for index in range(3):
        own = [delta.tokens[0].id for delta in arrived if delta.index == index]
        assert own == list(range(5 * WIDTH))


async def test_a_failure_comes_after_the_tokens_before_it() -> None:
    async def failing() -> AsyncGenerator[Delta, None]:
        yield step(0)
        yield step(1)
        raise ApiError(500, "It broke.")

    deltas = smoothed(failing())
    seen = [(await anext(deltas)).tokens[0].id for _ in range(2 * WIDTH)]
    assert seen == list(range(2 * WIDTH))
    with pytest.raises(ApiError, match="It broke"):
        await anext(deltas)


async def test_a_reader_that_leaves_closes_what_is_behind() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[Delta, None]:
        try:
            while True:
                await asyncio.sleep(0.01)
                yield step(0)
        finally:
            closed.set()

    stream_of_deltas = smoothed(endless())
    await anext(stream_of_deltas)
    await stream_of_deltas.aclose()
    assert closed.is_set()


@pytest.mark.parametrize("width", [1, 3, 8, 100])
def test_a_split_delta_shows_each_tokens_thoughts_and_text(tokenizer: Tokenizer, width: int) -> None:
    ids = tokenizer.encode("<think>\nHm, später.\n</think>\nreturn a + b\n# end")
    stopping = Stopping(["# "], [], False, 0)
    reasoning = REASONING_PARSERS["qwen3"].after([], tokenizer)
    transcript = Transcript(0, tokenizer.detokenizer(), stopping, reasoning=reasoning)
    for start in range(0, len(ids), width):
        delta = transcript.take(Output(request_id="r", token_ids=ids[start : start + width]))
        whole = (delta.text, delta.reasoning, list(delta.tokens))
        parts = delta.split()
        assert "".join(part.text for part in parts) == whole[0]
        assert "".join(part.reasoning for part in parts) == whole[1]
        assert [token for part in parts for token in part.tokens] == whole[2]
        assert all(len(part.tokens) <= 1 for part in parts)
        if width == 100:
            assert whole[0].strip() == "return a + b"
            assert sum(bool(part.reasoning) for part in parts) > 3
            assert not any(part.text for part in parts[:4])


@pytest.fixture(scope="module")
def smooth(served_model: Path) -> Iterator[LiveServer]:
    with LiveServer(served_model, "--decoding", "tidar", "--predrafts", "full", "--stream-smoothing") as live:
        yield live


@pytest.mark.parametrize("fields", [{}, {"stop": ["e"]}, {"n": 3}, {"logprobs": 2}])
def test_a_smooth_stream_says_what_the_whole_answer_says(smooth: LiveServer, fields: dict[str, Any]) -> None:
    asked = {"prompt": "def f(", "temperature": 100, "seed": 7, "max_tokens": 24, "ignore_eos": True, **fields}
    asked |= {"return_token_ids": True}
    whole = smooth.complete(**asked)
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = stream(f"{smooth.url}/v1/completions", {**asked, "stream_options": options})
    for choice in whole["choices"]:
        parts = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [token for part in parts for token in part["token_ids"]] == choice["token_ids"]
        assert parts[-1]["finish_reason"] == choice["finish_reason"]
        shown = [part for part in parts if part["text"]]
        assert len(shown) > len(choice["token_ids"]) // 3
    counted = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counted == sorted(counted)
    assert counted[-1] == whole["usage"]["completion_tokens"]
