"""/v1/completions, in and out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from engine.params import SamplingParams
from server.errors import bad_request
from server.protocol.fields import ResponseModel, one_of
from server.protocol.sampling import SamplingRequest
from server.protocol.steps import StepInfo
from server.protocol.usage import RequestMetrics, Usage

#: OpenAI's default when max_tokens is left out
DEFAULT_MAX_TOKENS = 16

Prompt = Annotated[
    str | list[str] | list[StrictInt] | list[list[StrictInt]],
    one_of("a string, a list of strings, a list of token ids or a list of lists of token ids"),
]


class CompletionRequest(SamplingRequest):
    """A text completion request: OpenAI's fields and vLLM's extensions."""

    prompt: Prompt
    max_tokens: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    best_of: int | None = Field(None, ge=1)
    suffix: str | None = None
    add_special_tokens: bool | None = None

    @property
    def only_scores(self) -> bool:
        """max_tokens 0 with echo: nothing is generated, the prompt is returned with its logprobs."""
        return self.max_tokens == 0 and bool(self.echo)

    @property
    def sequences(self) -> int:
        """Completions of all prompts together."""
        several = isinstance(self.prompt, list) and not all(isinstance(entry, int) for entry in self.prompt)
        return self.choices * (len(self.prompt) if several else 1)

    def params(self, max_tokens: int) -> SamplingParams:
        """Sampling settings; with echo, logprobs cover the prompt too."""
        prompt_logprobs = self.prompt_logprobs
        if self.echo and self.logprobs is not None:
            prompt_logprobs = max(self.logprobs, prompt_logprobs or 0)
        return self.sampling_params(max_tokens=max_tokens, logprobs=self.logprobs, prompt_logprobs=prompt_logprobs)

    def refuse_unsupported(self) -> None:
        super().refuse_unsupported()
        if self.suffix and self.echo:
            raise bad_request("echo cannot show a prompt that a suffix is written into; leave one out.", "echo")
        if self.suffix and self.truncate_prompt_tokens is not None:
            raise bad_request("A prompt with a suffix cannot be truncated; shorten it.", "truncate_prompt_tokens")
        if self.best_of is not None and self.best_of != self.choices:
            raise bad_request(
                "best_of is not supported beyond n; ask for n choices and rank them by logprobs.", "best_of"
            )


class CompletionLogprobs(ResponseModel):
    """One entry per token; text_offset counts characters of the choice's text."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class PromptLogprob(ResponseModel):
    """One candidate at a prompt position; rank 1 is the most likely."""

    logprob: float
    rank: int | None
    decoded_token: str


class CompletionChoice(ResponseModel):
    """One completion. `stop_reason` is the stop string or stop token id that ended it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: str | None
    stop_reason: int | str | None = None
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    tidar: StepInfo | None = None


class CompletionResponse(ResponseModel):
    """A completion, or one chunk of its stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    metrics: RequestMetrics | None = None
