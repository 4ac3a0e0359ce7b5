"""LiteLLM: run with the server's /v1 address and the model's name."""

import json
from typing import Any

import litellm
from reporting import MESSAGES, MODEL, PLAN, ROOMY, SAMPLING, URL, USER, counts, error, report

ASK: dict[str, Any] = {"model": f"hosted_vllm/{MODEL}", "api_base": URL, "api_key": "unused", "num_retries": 0}
litellm.suppress_debug_info = True


def chat() -> Any:
    answer = litellm.completion(messages=MESSAGES, **ASK, **SAMPLING)
    choice = answer.choices[0]
    return {"text": choice.message.content, "finish": choice.finish_reason, "usage": counts(answer.usage)}


def chat_by_the_openai_provider() -> Any:
    answer = litellm.completion(messages=MESSAGES, **{**ASK, "model": f"openai/{MODEL}"}, **SAMPLING)
    return {"text": answer.choices[0].message.content}


def chat_stream() -> Any:
    chunks = list(
        litellm.completion(messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **ASK, **SAMPLING)
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return {"text": text, "chunks": len(chunks), "usage": counts(chunks[-1].usage)}


async def chat_async() -> Any:
    answer = await litellm.acompletion(messages=MESSAGES, **ASK, **SAMPLING)
    return {"text": answer.choices[0].message.content}


async def chat_stream_async() -> Any:
    chunks = await litellm.acompletion(messages=MESSAGES, stream=True, **ASK, **SAMPLING)
    return {"text": "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])}


def stop() -> Any:
    text = chat()["text"]
    answer = litellm.completion(messages=MESSAGES, stop=[text[6:8]], **ASK, **SAMPLING)
    return {"text": answer.choices[0].message.content, "finish": answer.choices[0].finish_reason, "stop": text[6:8]}


def several() -> Any:
    answer = litellm.completion(messages=MESSAGES, n=3, **ASK, **SAMPLING)
    return {"texts": [choice.message.content for choice in answer.choices]}


def logprobs() -> Any:
    answer = litellm.completion(messages=MESSAGES, logprobs=True, top_logprobs=2, **ASK, **SAMPLING)
    entries = answer.choices[0].logprobs.content
    return {"tokens": len(entries), "top": len(entries[0].top_logprobs)}


def completion() -> Any:
    answer = litellm.text_completion(prompt="def f(", **{**ASK, "model": f"text-completion-openai/{MODEL}"}, **SAMPLING)
    return {"text": answer.choices[0].text}


def response() -> Any:
    fields = {"temperature": 2.0, "max_output_tokens": 16, "extra_body": {"seed": 7}}
    answer = litellm.responses(input=USER, **{**ASK, "model": f"openai/{MODEL}"}, **fields)
    return {"text": answer.output[0].content[0].text, "tokens": answer.usage.output_tokens}


def json_schema() -> Any:
    form = {"type": "json_schema", "json_schema": {"name": "plan", "schema": PLAN, "strict": True}}
    answer = litellm.completion(messages=MESSAGES, response_format=form, **ASK, **ROOMY)
    return {"plan": json.loads(answer.choices[0].message.content)}


def tools() -> Any:
    offered = [{"type": "function", "function": {"name": "plan", "parameters": PLAN}}]
    # hosted_vllm/ takes additionalProperties out of the schema, and random weights then come to no end
    asked = {**ASK, "model": f"openai/{MODEL}", "tools": offered, "tool_choice": "required"}
    answer = litellm.completion(messages=MESSAGES, **asked, **ROOMY)
    return {"plan": json.loads(answer.choices[0].message.tool_calls[0].function.arguments)}


def bad_request() -> Any:
    try:
        litellm.completion(messages=MESSAGES, **ASK, **{**SAMPLING, "temperature": -1})
    except litellm.BadRequestError as raised:
        return error(raised)


def unknown_model() -> Any:
    try:
        litellm.completion(messages=MESSAGES, **{**ASK, "model": "hosted_vllm/gpt-4"}, **SAMPLING)
    except litellm.NotFoundError as raised:
        return error(raised)


def no_embeddings() -> Any:
    try:
        litellm.embedding(input=["x"], **{**ASK, "model": f"openai/{MODEL}"})
    except litellm.NotFoundError as raised:
        return error(raised)


report(
    [
        chat,
        chat_by_the_openai_provider,
        chat_stream,
        chat_async,
        chat_stream_async,
        stop,
        several,
        logprobs,
        completion,
        response,
        json_schema,
        tools,
        bad_request,
        unknown_model,
        no_embeddings,
    ]
)
