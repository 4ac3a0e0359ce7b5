"""From a checked body to a job for the engine. Every refusal happens here, before the engine hears of the request."""

from __future__ import annotations

import time

import msgspec

from engine.errors import RequestError
from engine.messages import Ready
from engine.params import SamplingParams
from models.tokenizer import Tokenizer
from server.bad_words import bad_word_tokens
from server.conversation import chat_prompt
from server.errors import bad_request
from server.generation import Job
from server.prompts import completion_prompts, room, truncate
from server.protocol.chat import ChatRequest
from server.protocol.completions import DEFAULT_MAX_TOKENS, CompletionRequest
from server.protocol.sampling import SamplingRequest
from server.transcript import Stopping


async def completion_job(body: CompletionRequest, request_id: str, tokenizer: Tokenizer, ready: Ready) -> Job:
    """Raises a 400 that names the field at fault."""
    created, arrived = time.time(), time.perf_counter()
    body.refuse_unsupported()
    stopping = _stopping(body)
    context = ready.max_model_len
    wanted = 1 if body.only_scores else body.max_tokens
    prompts = await completion_prompts(body, tokenizer, ready.vocab_size)
    prompts = [truncate(prompt, body.truncate_prompt_tokens, context, wanted or 1) for prompt in prompts]
    limits = [room(prompt, context, wanted, DEFAULT_MAX_TOKENS) for prompt in prompts]
    return Job(
        request_id=request_id,
        prompts=prompts,
        limits=limits,
        params=_checked(await _params(body, min(limits), tokenizer), ready),
        stopping=stopping,
        n=body.choices,
        skip_special_tokens=body.skip_special_tokens is not False,
        priority=body.priority or 0,
        only_scores=body.only_scores,
        created=created,
        arrived=arrived,
    )


async def chat_job(body: ChatRequest, request_id: str, tokenizer: Tokenizer, ready: Ready) -> Job:
    """Raises a 400 that names the field at fault."""
    created, arrived = time.time(), time.perf_counter()
    body.refuse_unsupported()
    stopping = _stopping(body)
    context = ready.max_model_len
    field, wanted = body.token_limit
    prompt = truncate(await chat_prompt(body, tokenizer), body.truncate_prompt_tokens, context, wanted or 1)
    limit = room(prompt, context, wanted, None, param=field, source="messages")
    return Job(
        request_id=request_id,
        prompts=[prompt],
        limits=[limit],
        params=_checked(await _params(body, limit, tokenizer), ready, {"logprobs": "top_logprobs"}),
        stopping=stopping,
        n=body.choices,
        skip_special_tokens=body.skip_special_tokens is not False,
        priority=body.priority or 0,
        created=created,
        arrived=arrived,
    )


async def _params(body: CompletionRequest | ChatRequest, limit: int, tokenizer: Tokenizer) -> SamplingParams:
    params = body.params(limit)
    if not body.bad_words:
        return params
    return msgspec.structs.replace(params, bad_words=await bad_word_tokens(body.bad_words, tokenizer))


def _checked(params: SamplingParams, ready: Ready, renamed: dict[str, str] | None = None) -> SamplingParams:
    """The engine's own check, at the door; `renamed` maps its field names to the client's."""
    try:
        params.check(ready.vocab_size)
    except RequestError as error:
        name = error.param or ""
        raise bad_request(str(error), (renamed or {}).get(name, name) or None) from None
    return params


def _stopping(body: SamplingRequest) -> Stopping:
    return Stopping(
        strings=body.stop_strings(),
        token_ids=body.stop_token_ids or [],
        keep=bool(body.include_stop_str_in_output),
        min_tokens=body.min_tokens or 0,
    )
