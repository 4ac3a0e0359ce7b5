"""openai-python, as its users use it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.server.live import LiveServer

LIVELY: dict[str, Any] = {"temperature": 2.0, "seed": 7, "max_tokens": 16}
RESPONSE: dict[str, Any] = {"temperature": 2.0, "max_output_tokens": 16, "extra_body": {"seed": 7}}
MESSAGES: Any = [{"role": "system", "content": "You write Python."}, {"role": "user", "content": "Add two numbers."}]
MODEL = "tiny-tidar"


@pytest.fixture
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as made:
        yield made


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


def test_a_completion(client: openai.OpenAI) -> None:
    completion = client.completions.create(model=MODEL, prompt="def f(", **LIVELY, logprobs=2, n=2)
    assert len(completion.choices) == 2
    assert completion.usage is not None
    assert completion.usage.completion_tokens == sum(
        len(choice.logprobs.tokens or []) for choice in completion.choices if choice.logprobs
    )


def test_a_streamed_completion(client: openai.OpenAI) -> None:
    whole = client.completions.create(model=MODEL, prompt="def f(", **LIVELY)
    parts = client.completions.create(model=MODEL, prompt="def f(", **LIVELY, stream=True)
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text


def test_a_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, **LIVELY, logprobs=True, top_logprobs=2)
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert len(choice.logprobs.content[0].top_logprobs) == 2
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None


def test_a_streamed_chat_with_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=MESSAGES, **LIVELY)
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, **LIVELY, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_the_streaming_helper(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=MESSAGES, **LIVELY)
    text = whole.choices[0].message.content or ""
    with client.chat.completions.stream(
        model=MODEL, messages=MESSAGES, **LIVELY, extra_body={"stop": text[8:10]}
    ) as events:
        final = events.get_final_completion()
    assert final.choices[0].message.content == text[: text.index(text[8:10])]


def test_extra_sampling_fields_go_through_extra_body(client: openai.OpenAI) -> None:
    extra = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "stop_token_ids": [50], "ignore_eos": True}
    raw = client.completions.with_raw_response.create(model=MODEL, prompt="x", max_tokens=4, extra_body=extra)
    assert "x-tidar-ignored-fields" not in raw.headers
    assert raw.parse().choices[0].finish_reason in ("stop", "length")


def test_a_response(client: openai.OpenAI) -> None:
    made = client.responses.create(model=MODEL, input="Add two numbers.", instructions="You write Python.", **RESPONSE)
    assert made.output_text
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    assert client.responses.retrieve(made.id).output_text == made.output_text
    assert client.responses.input_items.list(made.id).data[0].type == "message"
    followed = client.responses.create(model=MODEL, input="Again.", previous_response_id=made.id, **RESPONSE)
    assert followed.usage is not None
    assert followed.usage.input_tokens > made.usage.output_tokens
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_streamed_response(client: openai.OpenAI) -> None:
    whole = client.responses.create(model=MODEL, input="Add two numbers.", **RESPONSE)
    events = list(client.responses.create(model=MODEL, input="Add two numbers.", **RESPONSE, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text


def test_the_streaming_helper_for_responses(client: openai.OpenAI) -> None:
    whole = client.responses.create(model=MODEL, input="Add two numbers.", **RESPONSE)
    text = whole.output_text
    with client.responses.stream(
        model=MODEL, input="Add two numbers.", **{**RESPONSE, "extra_body": {"seed": 7, "stop": text[6:8]}}
    ) as events:
        kinds = {event.type for event in events}
        final = events.get_final_response()
    assert final.output_text == text[: text.index(text[6:8])]
    assert final.status == "completed"
    assert {"response.created", "response.output_text.delta", "response.completed"} <= kinds


def test_a_background_response_is_polled_and_cancelled(client: openai.OpenAI) -> None:
    queued = client.responses.create(model=MODEL, input="Add two numbers.", background=True, **RESPONSE)
    assert queued.status in ("queued", "in_progress")
    for _ in range(200):
        polled = client.responses.retrieve(queued.id)
        if polled.status not in ("queued", "in_progress"):
            break
        time.sleep(0.02)
    assert polled.output_text
    assert client.responses.cancel(queued.id).status == polled.status


def test_a_response_that_was_never_made(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_nobody")
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input="x", max_output_tokens=0)
    assert caught.value.param == "max_output_tokens"


def test_what_is_not_served_here_says_so(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model=MODEL, input="x")
    assert "/v1/embeddings" in caught.value.message
    assert caught.value.type == "not_found_error"


def test_an_asynchronous_response(server: LiveServer) -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused") as one:
            events = await one.responses.create(model=MODEL, input="x", **RESPONSE, stream=True)
            return "".join([event.delta async for event in events if event.type == "response.output_text.delta"])

    assert asyncio.run(ask())


def test_a_bad_request_is_the_clients_exception(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt="x", temperature=-1)
    assert caught.value.param == "temperature"
    assert caught.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-4", prompt="x")


def test_a_client_that_leaves_its_stream(client: openai.OpenAI, server: LiveServer) -> None:
    with client.completions.create(model=MODEL, prompt="x", max_tokens=200, stream=True) as stream:
        next(iter(stream))
    server.wait_until_idle(2)


def test_many_at_once(server: LiveServer) -> None:
    async def ask() -> list[openai.types.Completion]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused") as many:
            asked = [many.completions.create(model=MODEL, prompt=f"x = {i}", **LIVELY) for i in range(20)]
            return await asyncio.gather(*asked)

    async def listen() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused") as one:
            chunks = await one.completions.create(model=MODEL, prompt="x = 3", **LIVELY, stream=True)
            return "".join([chunk.choices[0].text async for chunk in chunks])

    texts = [completion.choices[0].text for completion in asyncio.run(ask())]
    assert len(texts) == 20
    assert asyncio.run(listen()) == texts[3]
