"""From a checked body to a job for the engine. Every refusal happens here, before the engine hears of the request."""

from __future__ import annotations

import time

import msgspec

from engine.errors import RequestError
from engine.messages import Ready
from engine.params import Grammar, SamplingParams
from models.tokenizer import Tokenizer
from server.bad_words import bad_word_tokens
from server.constraints import answer_grammar
from server.conversation import chat_prompt
from server.errors import bad_request
from server.formats import Formats
from server.generation import Job
from server.grammars import GrammarDoor
from server.prompts import Prompt, completion_prompts, room, truncate
from server.protocol.chat import ChatRequest
from server.protocol.completions import DEFAULT_MAX_TOKENS, CompletionRequest
from server.protocol.sampling import SamplingRequest
from server.tools.choice import ToolUse, tool_use
from server.tools.grammar import Markers
from server.transcript import Stopping


async def completion_job(
    body: CompletionRequest, request_id: str, tokenizer: Tokenizer, ready: Ready, grammars: GrammarDoor
) -> Job:
    """Raises a 400 that names the field at fault."""
    created, arrived = time.time(), time.monotonic()
    body.refuse_unsupported()
    stopping = _stopping(body)
    context = ready.max_model_len
    wanted = 1 if body.only_scores else body.max_tokens
    prompts = await completion_prompts(body, tokenizer, ready.vocab_size)
    prompts = [truncate(prompt, body.truncate_prompt_tokens, context, wanted or 1) for prompt in prompts]
    limits = [room(prompt, context, wanted, DEFAULT_MAX_TOKENS) for prompt in prompts]
    params = msgspec.structs.replace(body.params(min(limits)), bad_words=await _bad_words(body, tokenizer))
    params = _checked(params, ready)
    grammar_field = await _check_grammar(body.asked_grammar, grammars)
    return Job(
        request_id=request_id,
        prompts=prompts,
        limits=limits,
        params=params,
        grammar_field=grammar_field,
        stopping=stopping,
        n=body.choices,
        skip_special_tokens=body.skip_special_tokens is not False,
        priority=body.priority or 0,
        only_scores=body.only_scores,
        created=created,
        arrived=arrived,
    )


async def chat_job(
    body: ChatRequest,
    request_id: str,
    tokenizer: Tokenizer,
    ready: Ready,
    grammars: GrammarDoor,
    formats: Formats | None = None,
) -> Job:
    """Raises a 400 that names the field at fault."""
    created, arrived = time.time(), time.monotonic()
    body.refuse_unsupported()
    stopping = _stopping(body)
    context = ready.max_model_len
    formats = formats or Formats()
    use = tool_use(body, formats)
    field, wanted = body.token_limit
    prompt = truncate(await chat_prompt(body, tokenizer, use), body.truncate_prompt_tokens, context, wanted or 1)
    limit = room(prompt, context, wanted, None, param=field, source="messages")
    asked = answer_grammar(body.asked_grammar, use, _thoughts(prompt, tokenizer, formats), tokenizer)
    params = msgspec.structs.replace(body.params(limit), grammar=asked[1] if asked else None)
    params = msgspec.structs.replace(params, bad_words=await _bad_words(body, tokenizer))
    params = _checked(params, ready, {"logprobs": "top_logprobs"})
    grammar_field = await _check_grammar(asked, grammars)
    return Job(
        request_id=request_id,
        prompts=[prompt],
        limits=[limit],
        params=params,
        grammar_field=grammar_field,
        stopping=stopping,
        n=body.choices,
        skip_special_tokens=body.skip_special_tokens is not False,
        kept_tokens=_signs(use, formats, tokenizer),
        reasoning=formats.reasoning,
        tools=use,
        priority=body.priority or 0,
        created=created,
        arrived=arrived,
    )


async def _bad_words(body: SamplingRequest, tokenizer: Tokenizer) -> list[list[int]]:
    return await bad_word_tokens(body.bad_words, tokenizer) if body.bad_words else []


def _thoughts(prompt: Prompt, tokenizer: Tokenizer, formats: Formats) -> str | None:
    """The grammar of the thoughts before an answer, where the model may write some."""
    if formats.reasoning is None:
        return None
    return formats.reasoning.after(prompt.token_ids, tokenizer).grammar(Markers(tokenizer))


def _signs(use: ToolUse | None, formats: Formats, tokenizer: Tokenizer) -> frozenset[int]:
    """The special tokens that parsers have to see."""
    signs = [*(use.parser.markers if use else ()), *(formats.reasoning.markers() if formats.reasoning else ())]
    return frozenset(token for sign in signs if (token := Markers(tokenizer).special(sign)) is not None)


def _checked(params: SamplingParams, ready: Ready, renamed: dict[str, str] | None = None) -> SamplingParams:
    """The engine's own check, at the door; `renamed` maps its field names to the client's."""
    try:
        params.check(ready.vocab_size)
    except RequestError as error:
        name = error.param or ""
        raise bad_request(str(error), (renamed or {}).get(name, name) or None) from None
    return params


async def _check_grammar(asked: tuple[str, Grammar] | None, grammars: GrammarDoor) -> str | None:
    """The name of the field that asks for a grammar, if one does. Raises a 400 where it cannot be used."""
    if asked is None:
        return None
    field, grammar = asked
    await grammars.check(grammar, field)
    return field


def _stopping(body: SamplingRequest) -> Stopping:
    return Stopping(
        strings=body.stop_strings(),
        token_ids=body.stop_token_ids or [],
        keep=bool(body.include_stop_str_in_output),
        min_tokens=body.min_tokens or 0,
    )
