"""The engine's own door: what can never be served is refused before it is queued."""

from __future__ import annotations

from engine.errors import RequestError
from engine.messages import Ready, Submit
from engine.params import SamplingParams


def check_request(request: Submit, ready: Ready) -> None:
    """Raises RequestError, with the parameter at fault, for a request that this engine can never serve."""
    params, prompt, limit = request.params, request.prompt_token_ids, ready.max_model_len
    params.check(ready.vocab_size)
    if not prompt:
        raise RequestError("The prompt is empty; give at least one token.", "prompt")
    if min(prompt) < 0 or max(prompt) >= ready.vocab_size:
        raise RequestError(f"The prompt names a token id outside the vocabulary of {ready.vocab_size}.", "prompt")
    if len(prompt) >= limit:
        raise RequestError(
            f"The prompt has {len(prompt)} tokens, but the context of {limit} leaves room for at most {limit - 1}.",
            "prompt",
        )
    if params.max_tokens is not None and len(prompt) + params.max_tokens > limit:
        raise RequestError(
            f"The prompt's {len(prompt)} tokens and max_tokens {params.max_tokens} exceed the context of {limit}.",
            "max_tokens",
        )
    allowed = params.allowed_token_ids
    if params.min_tokens and allowed is not None and stop_tokens(params, ready).issuperset(allowed):
        raise RequestError("min_tokens forbids every token that allowed_token_ids leaves.", "min_tokens")


def stop_tokens(params: SamplingParams, ready: Ready) -> frozenset[int]:
    """The token ids that end this request's output."""
    return frozenset(params.stop_token_ids) | frozenset(() if params.ignore_eos else ready.eos_token_ids)
