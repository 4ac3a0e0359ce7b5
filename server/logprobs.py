"""Log-probabilities in the shapes that completions and chat give them."""

from __future__ import annotations

from engine.messages import TokenLogprobs
from models.tokenizer import Tokenizer
from server.protocol.chat import ChatLogprobs, TokenLogprob, TopLogprob
from server.protocol.completions import CompletionLogprobs, PromptLogprob
from server.transcript import Token

#: JSON has no infinity; a token that was ruled out is this unlikely
FLOOR = -9999.0

PromptLogprobs = list[dict[str, PromptLogprob] | None]


def completion_logprobs(tokenizer: Tokenizer, tokens: list[Token], shift: int = 0) -> CompletionLogprobs:
    """One entry per token; offsets are moved by `shift` characters, the length of an echoed prompt."""
    entries = [token.logprobs for token in tokens]
    return CompletionLogprobs(
        tokens=[tokenizer.token_text(token.id) for token in tokens],
        token_logprobs=[None if entry is None else _finite(entry.logprob) for entry in entries],
        top_logprobs=[None if entry is None else _candidates(tokenizer, entry) for entry in entries],
        text_offset=[token.text_offset + shift for token in tokens],
    )


def echoed_tokens(
    tokenizer: Tokenizer, prompt: list[int], logprobs: list[TokenLogprobs | None], skip_special_tokens: bool
) -> list[Token]:
    """The prompt as if it had been generated: the first token has no log-probability."""
    detokenizer = tokenizer.detokenizer(skip_special_tokens)
    tokens, length = [], 0
    for token, entry in zip(prompt, logprobs, strict=True):
        tokens.append(Token(token, length, entry))
        length += len(detokenizer.push([token]))
    return tokens


def join_completion_logprobs(parts: list[CompletionLogprobs]) -> CompletionLogprobs:
    """Parts of one choice, in order, as one."""
    return CompletionLogprobs(
        tokens=[item for part in parts for item in part.tokens],
        token_logprobs=[item for part in parts for item in part.token_logprobs],
        top_logprobs=[item for part in parts for item in part.top_logprobs],
        text_offset=[item for part in parts for item in part.text_offset],
    )


def chat_logprobs(tokenizer: Tokenizer, tokens: list[Token], top: int) -> ChatLogprobs:
    """One entry per token, each with its `top` most likely candidates."""
    return ChatLogprobs(
        content=[_chat_entry(tokenizer, token.logprobs, top) for token in tokens if token.logprobs is not None]
    )


def prompt_logprobs(tokenizer: Tokenizer, entries: list[TokenLogprobs | None]) -> PromptLogprobs:
    """vLLM's shape: per prompt token, candidates by token id; None for the first token."""
    return [None if entry is None else _by_id(tokenizer, entry) for entry in entries]


def _by_id(tokenizer: Tokenizer, entry: TokenLogprobs) -> dict[str, PromptLogprob]:
    ranked = {
        str(token): PromptLogprob(logprob=_finite(value), rank=rank, decoded_token=tokenizer.token_text(token))
        for rank, (token, value) in enumerate(zip(entry.top_ids, entry.top_logprobs, strict=True), start=1)
    }
    own = PromptLogprob(
        logprob=_finite(entry.logprob), rank=entry.rank, decoded_token=tokenizer.token_text(entry.token_id)
    )
    return {str(entry.token_id): own} | ranked


def _candidates(tokenizer: Tokenizer, entry: TokenLogprobs) -> dict[str, float]:
    """Most likely first; the token itself is always among them. Of tokens that read alike the likelier one stays."""
    candidates: dict[str, float] = {}
    pairs = [*zip(entry.top_ids, entry.top_logprobs, strict=True), (entry.token_id, entry.logprob)]
    for token, value in pairs:
        candidates.setdefault(tokenizer.token_text(token), _finite(value))
    return candidates


def _chat_entry(tokenizer: Tokenizer, entry: TokenLogprobs, top: int) -> TokenLogprob:
    best = list(zip(entry.top_ids, entry.top_logprobs, strict=True))[:top]
    text = tokenizer.token_text(entry.token_id)
    return TokenLogprob(
        token=text,
        logprob=_finite(entry.logprob),
        bytes=list(tokenizer.token_bytes(entry.token_id)),
        top_logprobs=[_top(tokenizer, token, value) for token, value in best],
    )


def _top(tokenizer: Tokenizer, token: int, value: float) -> TopLogprob:
    return TopLogprob(
        token=tokenizer.token_text(token), logprob=_finite(value), bytes=list(tokenizer.token_bytes(token))
    )


def _finite(value: float) -> float:
    return max(value, FLOOR)
