"""What one request took, for its line in the log and its spans; counts and times, never text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.protocol.usage import Usage
from server.timeline import Timeline


@dataclass(frozen=True, kw_only=True)
class Account:
    """A request's sequences together; times are seconds of its first choice, None for what never happened."""

    sequences: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    finish_reasons: list[str]
    queue_time: float | None
    time_to_first_token: float | None
    inter_token_latency: float | None
    decode_forwards: int
    tokens_per_forward: float | None
    acceptance_rate: float | None
    preemptions: int

    @classmethod
    def of(cls, usage: Usage, timelines: Sequence[Timeline]) -> Account:
        """The account of a generation, finished or not."""
        first = timelines[0]
        steps = [timeline.steps for timeline in timelines if timeline.steps is not None]
        forwards = sum(s.forwards for s in steps)
        committed = sum(s.committed for s in steps)
        drafts = sum(s.draft_tokens for s in steps)
        details = usage.prompt_tokens_details
        return cls(
            sequences=len(timelines),
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=details.cached_tokens if details else 0,
            completion_tokens=usage.completion_tokens,
            finish_reasons=[timeline.reason or "running" for timeline in timelines],
            queue_time=first.queue_time,
            time_to_first_token=first.time_to_first_token,
            inter_token_latency=first.inter_token_latency,
            decode_forwards=forwards,
            tokens_per_forward=committed / forwards if forwards else None,
            acceptance_rate=max(0, committed - forwards) / drafts if drafts else None,
            preemptions=sum(s.preemptions for s in steps),
        )
