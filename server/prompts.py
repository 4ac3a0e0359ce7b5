"""From what a client sent to prompt token ids that fit the context, or a 400 that says why not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from models.errors import PromptError
from models.tokenizer import Tokenizer
from server.errors import bad_request
from server.infill import infill_prompt
from server.protocol.completions import CompletionRequest

#: longer texts are tokenised in a thread, so that other streams go on meanwhile
INLINE_CHARACTERS = 8192


@dataclass(frozen=True)
class Prompt:
    """One prompt; `text` is what the client sent, where it sent text."""

    token_ids: list[int]
    text: str | None = None


async def encode(tokenizer: Tokenizer, text: str, add_special_tokens: bool, param: str) -> list[int]:
    """Token ids of `text`, without holding up the event loop for long. Raises a 400 for text that is no Unicode."""
    try:
        if len(text) <= INLINE_CHARACTERS:
            return tokenizer.encode(text, add_special_tokens)
        return await asyncio.to_thread(tokenizer.encode, text, add_special_tokens)
    except PromptError as error:
        raise bad_request(str(error), param) from None


async def completion_prompts(request: CompletionRequest, tokenizer: Tokenizer, vocab_size: int) -> list[Prompt]:
    """The prompts of a completion request, in order. Raises a 400 for an empty one or an unknown token id."""
    special = True if request.add_special_tokens is None else request.add_special_tokens
    if request.suffix:
        return await _infill_prompts(request, request.suffix, special, tokenizer, vocab_size)
    prompts = []
    for given in _prompt_list(request.prompt):
        if isinstance(given, str):
            prompt = Prompt(await encode(tokenizer, given, special, "prompt"), given)
        else:
            check_token_ids(given, vocab_size, "prompt")
            prompt = Prompt(given)
        if not prompt.token_ids:
            raise bad_request("The prompt is empty; give at least one token.", "prompt")
        prompts.append(prompt)
    return prompts


async def _infill_prompts(
    request: CompletionRequest, suffix: str, special: bool, tokenizer: Tokenizer, vocab_size: int
) -> list[Prompt]:
    """The prompts with `suffix` behind each. Either side may be empty, the model fills what is between."""
    behind = await encode(tokenizer, suffix, False, "suffix")
    start = [token for token in tokenizer.encode("", special) if token == tokenizer.bos_token_id]
    prompts = []
    for given in _prompt_list(request.prompt):
        if isinstance(given, str):
            before = await encode(tokenizer, given, False, "prompt")
        else:
            before = given
            check_token_ids(before, vocab_size, "prompt")
        prompts.append(Prompt(infill_prompt(before, behind, start, tokenizer)))
    return prompts


def check_token_ids(token_ids: list[int], vocab_size: int, param: str) -> None:
    """Raises a 400 naming the first id outside the vocabulary."""
    for token in token_ids:
        if not 0 <= token < vocab_size:
            raise bad_request(f"{param} names token id {token}, but the vocabulary has {vocab_size} tokens.", param)


def truncate(prompt: Prompt, keep: int | None, context: int, max_tokens: int) -> Prompt:
    """The prompt's last `keep` tokens; -1 keeps what the context leaves beside max_tokens."""
    if keep is None:
        return prompt
    if keep == 0:
        raise bad_request("truncate_prompt_tokens must be -1 or at least 1.", "truncate_prompt_tokens")
    keep = max(1, context - max_tokens) if keep == -1 else keep
    if len(prompt.token_ids) <= keep:
        return prompt
    return Prompt(prompt.token_ids[-keep:])


def room(
    prompt: Prompt,
    context: int,
    wanted: int | None,
    default: int | None,
    *,
    param: str = "max_tokens",
    source: str = "prompt",
) -> int:
    """How many tokens may be generated: `wanted`, or at most `default` (None: all the context leaves).

    Raises a 400 with the numbers where the prompt, or the prompt and `wanted`, exceed the context; `param` and `source`
    are the client's fields that gave `wanted` and the prompt.
    """
    length = len(prompt.token_ids)
    left = context - length
    if left < 1:
        raise bad_request(
            f"The prompt has {length} tokens, but the context of {context} leaves room for at most {context - 1}.",
            source,
            "context_length_exceeded",
        )
    if wanted is None:
        return left if default is None else min(default, left)
    if wanted < 1:
        raise bad_request(f"{param} must be at least 1, not {wanted}.", param)
    if wanted > left:
        raise bad_request(
            f"The prompt's {length} tokens and {param} {wanted} come to {length + wanted}, but the context holds "
            f"{context}; ask for at most {left}.",
            param,
            "context_length_exceeded",
        )
    return wanted


def _prompt_list(prompt: str | list[str] | list[int] | list[list[int]]) -> list[str | list[int]]:
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise bad_request("The prompt is an empty list; give text or token ids.", "prompt")
    if isinstance(prompt[0], int):
        return [prompt]
    return list(prompt)
