"""What a request has cost, and how it was decoded."""

from __future__ import annotations

from typing import Protocol

from server.protocol.fields import ResponseModel


class PromptTokensDetails(ResponseModel):
    """`cached_tokens` of the prompt came from the prefix cache."""

    cached_tokens: int = 0


class CompletionTokensDetails(ResponseModel):
    """`reasoning_tokens` of the answers were thoughts, tags included."""

    reasoning_tokens: int = 0


class Usage(ResponseModel):
    """Token counts of a whole request; each prompt counts once, however many choices it has."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class RequestMetrics(ResponseModel):
    """How one request went: seconds, tokens per second, and tokens per forward; sent when `return_metrics` is true.

    `acceptance_lengths[i]` counts the decode steps that committed i + 1 tokens.
    """

    queue_time: float
    time_to_first_token: float
    inter_token_latency: float | None
    e2e_latency: float
    tokens_per_second: float
    tokens_per_forward: float | None
    decode_forwards: int
    acceptance_lengths: list[int]
    preemptions: int


class Measured(Protocol):
    """A body or chunk that can say what the request has cost."""

    usage: Usage | None
    metrics: RequestMetrics | None

    def to_json(self) -> bytes: ...
