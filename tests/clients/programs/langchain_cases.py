"""LangChain by langchain-openai: run with the server's /v1 address and the model's name."""

from typing import Any

import openai
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from reporting import MODEL, PLAN, SAMPLING, SYSTEM, URL, USER, error, report

ASK: dict[str, Any] = {"model": MODEL, "base_url": URL, "api_key": "unused", "max_retries": 0}
TALK = [("system", SYSTEM), ("human", USER)]


def model(**more: Any) -> ChatOpenAI:
    return ChatOpenAI(**{**ASK, **SAMPLING, **more})


def usage(message: Any) -> Any:
    counts = message.usage_metadata
    return {"prompt_tokens": counts["input_tokens"], "completion_tokens": counts["output_tokens"]}


def chat() -> Any:
    message = model().invoke(TALK)
    return {"text": message.content, "finish": message.response_metadata["finish_reason"], "usage": usage(message)}


def chat_stream() -> Any:
    chunks = list(model(stream_usage=True).stream(TALK))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return {"text": whole.content, "chunks": len(chunks), "usage": usage(whole)}


async def chat_async() -> Any:
    return {"text": (await model().ainvoke(TALK)).content}


async def chat_stream_async() -> Any:
    return {"text": "".join([chunk.content async for chunk in model().astream(TALK)])}


def batch() -> Any:
    return {"texts": [message.content for message in model().batch([TALK, TALK])]}


def stop() -> Any:
    text = str(model().invoke(TALK).content)
    message = model().invoke(TALK, stop=[text[6:8]])
    return {"text": message.content, "finish": message.response_metadata["finish_reason"], "stop": text[6:8]}


def several() -> Any:
    answers = model(n=3).generate([[SystemMessage(SYSTEM), HumanMessage(USER)]])
    return {"texts": [answer.text for answer in answers.generations[0]]}


def logprobs() -> Any:
    message = model(logprobs=True, top_logprobs=2).invoke(TALK)
    entries = message.response_metadata["logprobs"]["content"]
    return {"tokens": len(entries), "top": len(entries[0]["top_logprobs"])}


def completion() -> Any:
    return {"text": OpenAI(**ASK, **SAMPLING).invoke("def f(")}


def response() -> Any:
    asked = ChatOpenAI(**ASK, temperature=2.0, max_tokens=16, use_responses_api=True, extra_body={"seed": 7})
    message = asked.invoke(USER)
    return {"text": message.text, "tokens": usage(message)["completion_tokens"]}


def response_stream() -> Any:
    asked = ChatOpenAI(**ASK, temperature=2.0, max_tokens=16, use_responses_api=True, extra_body={"seed": 7})
    return {"text": "".join(chunk.text for chunk in asked.stream(USER))}


def json_schema() -> Any:
    asked = model(max_tokens=400).with_structured_output(PLAN, method="json_schema")
    return {"plan": asked.invoke(TALK)}


def tools() -> Any:
    offered = {"type": "function", "function": {"name": "plan", "parameters": PLAN}}
    message = model(max_tokens=400).bind_tools([offered], tool_choice="plan").invoke(TALK)
    return {"plan": message.tool_calls[0]["args"]}


def tools_stream() -> Any:
    offered = {"type": "function", "function": {"name": "plan", "parameters": PLAN}}
    asked = model(max_tokens=400).bind_tools([offered], tool_choice="any")
    chunks = list(asked.stream(TALK))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return {"plan": whole.tool_calls[0]["args"]}


def bad_request() -> Any:
    try:
        model(temperature=-1).invoke(TALK)
    except openai.BadRequestError as raised:
        return error(raised)


def unknown_model() -> Any:
    try:
        model(model="gpt-4").invoke(TALK)
    except openai.NotFoundError as raised:
        return error(raised)


def no_embeddings() -> Any:
    try:
        OpenAIEmbeddings(**ASK, check_embedding_ctx_length=False).embed_query("x")
    except openai.NotFoundError as raised:
        return error(raised)


report(
    [
        chat,
        chat_stream,
        chat_async,
        chat_stream_async,
        batch,
        stop,
        several,
        logprobs,
        completion,
        response,
        response_stream,
        json_schema,
        tools,
        tools_stream,
        bad_request,
        unknown_model,
        no_embeddings,
    ]
)
