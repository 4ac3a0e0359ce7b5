"""What a request may ask of the sampler."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.errors import RequestError

MAX_LOGPROBS = 20

GrammarKind = Literal["json_schema", "json_object", "regex", "choice", "lark"]


class Grammar(msgspec.Struct, frozen=True):
    """What the output must match, from its first token to its last.

    `source` is the JSON text of the schema, nothing for json_object, the regular expression, a JSON list of strings, or
    a grammar in llguidance's Lark dialect.
    """

    kind: GrammarKind
    source: str = ""


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling and stopping settings of one sequence, in token ids (strings belong to the server).

    Names and meanings are vLLM's. `top_k` 0 or -1 is off; `max_tokens` None runs to the context's end;
    `logprobs` n returns the n most likely tokens of each position beside the sampled one; `seed` None lets the
    engine draw one. `bad_words` are token sequences that the output may not hold.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    allowed_token_ids: list[int] | None = None
    bad_words: list[list[int]] = []
    seed: int | None = None
    stop_token_ids: list[int] = []
    min_tokens: int = 0
    max_tokens: int | None = 16
    ignore_eos: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    grammar: Grammar | None = None

    def check(self, vocab_size: int) -> None:
        """Refuse values outside their range. Raises RequestError naming the field."""
        _range("temperature", self.temperature, 0.0, 100.0)
        if self.top_k < -1:
            raise RequestError(f"top_k must be -1 or 0 (off) or a positive count, not {self.top_k}.", "top_k")
        if not 0 < self.top_p <= 1:
            raise RequestError(f"top_p must lie in (0, 1], not {self.top_p}.", "top_p")
        _range("min_p", self.min_p, 0.0, 1.0)
        if not 0 < self.repetition_penalty < float("inf"):
            raise RequestError(
                f"repetition_penalty must be positive, not {self.repetition_penalty}.", "repetition_penalty"
            )
        _range("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _range("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        for token, bias in self.logit_bias.items():
            _token("logit_bias", token, vocab_size)
            _range("logit_bias", bias, -100.0, 100.0)
        for field in ("allowed_token_ids", "stop_token_ids"):
            for token in getattr(self, field) or ():
                _token(field, token, vocab_size)
        for sequence in self.bad_words:
            if not sequence:
                raise RequestError("bad_words must not hold an empty sequence.", "bad_words")
            for token in sequence:
                _token("bad_words", token, vocab_size)
        if self.allowed_token_ids is not None and not self.allowed_token_ids:
            raise RequestError("allowed_token_ids must name at least one token.", "allowed_token_ids")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise RequestError(f"max_tokens must be at least 1, not {self.max_tokens}.", "max_tokens")
        if self.min_tokens < 0 or (self.max_tokens is not None and self.min_tokens > self.max_tokens):
            raise RequestError(f"min_tokens must lie between 0 and max_tokens, not {self.min_tokens}.", "min_tokens")
        for field in ("logprobs", "prompt_logprobs"):
            count = getattr(self, field)
            if count is not None and not 0 <= count <= MAX_LOGPROBS:
                raise RequestError(f"{field} must lie between 0 and {MAX_LOGPROBS}, not {count}.", field)
        if self.seed is not None and not -(2**63) <= self.seed < 2**64:
            raise RequestError("seed must fit in 64 bits.", "seed")


def _range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise RequestError(f"{name} must lie between {low:g} and {high:g}, not {value}.", name)


def _token(name: str, token: int, vocab_size: int) -> None:
    if not 0 <= token < vocab_size:
        raise RequestError(f"{name} names token {token}, but the vocabulary has {vocab_size} tokens.", name)
