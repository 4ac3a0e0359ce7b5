"""The fields that completions and chat share, and their way into the engine's SamplingParams."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from engine.params import Grammar, SamplingParams
from server.errors import bad_request
from server.protocol.fields import RequestModel, RequestPart, one_of
from server.protocol.structured import ResponseFormat, Schema, StructuredOutputs, chosen_grammar

MAX_CHOICES = 128
MAX_STOP_STRINGS = 64
MAX_STOP_LENGTH = 1024

#: fields that mean the same, under the same name, to the engine
ENGINE_FIELDS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "allowed_token_ids",
    "seed",
    "stop_token_ids",
    "min_tokens",
    "ignore_eos",
)


class StreamOptions(RequestPart):
    """What a stream says beside its text."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_obfuscation: bool | None = None
    include_steps: bool | None = None


class SamplingRequest(RequestModel):
    """How to sample, when to stop and what to return; null means the default everywhere."""

    model: str | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = Field(None, lt=2**31)
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    seed: int | None = None
    stop: Annotated[str | list[str] | None, one_of("a string or a list of strings")] = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    truncate_prompt_tokens: int | None = Field(None, ge=-1, lt=2**31)
    prompt_logprobs: int | None = None
    return_token_ids: bool | None = None
    return_metrics: bool | None = None
    priority: int | None = Field(None, ge=-(2**31), lt=2**31)
    request_id: str | None = Field(None, min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")
    user: str | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Schema | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = Field(None, min_length=1)
    guided_grammar: str | None = None

    @cached_property
    def asked_grammar(self) -> tuple[str, Grammar] | None:
        """The field that says what the output has to match, and that. Raises a 400 where several do."""
        guided = StructuredOutputs.model_construct(
            json_=self.guided_json, regex=self.guided_regex, choice=self.guided_choice, grammar=self.guided_grammar
        )
        return chosen_grammar(self.response_format, self.structured_outputs, guided)

    @property
    def choices(self) -> int:
        return 1 if self.n is None else self.n

    def stop_strings(self) -> list[str]:
        """The stop strings as a list. Raises a 400 for an empty, an overlong or too many of them."""
        strings = [self.stop] if isinstance(self.stop, str) else list(self.stop or ())
        if len(strings) > MAX_STOP_STRINGS:
            raise bad_request(f"stop holds {len(strings)} strings; {MAX_STOP_STRINGS} are allowed.", "stop")
        for string in strings:
            if not 1 <= len(string) <= MAX_STOP_LENGTH:
                raise bad_request(f"Each stop string must have 1 to {MAX_STOP_LENGTH} characters.", "stop")
        return strings

    def sampling_params(self, **more: Any) -> SamplingParams:
        """The engine's view of this request; `more` are fields that completions and chat name differently."""
        given = {name: value for name in ENGINE_FIELDS if (value := getattr(self, name)) is not None}
        grammar = None if self.asked_grammar is None else self.asked_grammar[1]
        return SamplingParams(**given, logit_bias=self._token_biases(), grammar=grammar, **more)

    def refuse_unsupported(self) -> None:
        """Fields that would change the answer, and that this server cannot honour, are a 400 and never ignored."""
        if self.stream_options is not None and not self.stream:
            raise bad_request("stream_options needs stream to be true.", "stream_options")

    def _token_biases(self) -> dict[int, float]:
        biases = {}
        for token, bias in (self.logit_bias or {}).items():
            if not (token.isascii() and token.isdigit() and len(token) < 10):
                raise bad_request(f"logit_bias must be keyed by token ids, not by {token[:40]!r}.", "logit_bias")
            biases[int(token)] = bias
        return biases
