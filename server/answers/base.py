"""What every answer has in common: its stream of chunks and what follows the last one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Generic, TypeVar

from models.tokenizer import Tokenizer
from server.generation import Generation
from server.pacing import paced
from server.protocol.sampling import SamplingRequest
from server.protocol.usage import Measured
from server.settings import Pacing
from server.transcript import Delta

Asked = TypeVar("Asked", bound=SamplingRequest)


class Answer(ABC, Generic[Asked]):
    """Renders one generation, whole or chunk by chunk."""

    def __init__(self, request: Asked, generation: Generation, tokenizer: Tokenizer, model: str) -> None:
        self.request = request
        self.generation = generation
        self.job = generation.job
        self.tokenizer = tokenizer
        self.model = model

    @abstractmethod
    async def whole(self) -> Measured:
        """The complete answer. Raises ApiError where the engine failed."""

    @abstractmethod
    def render(self, delta: Delta) -> list[Measured]:
        """The chunks that show one delta."""

    @abstractmethod
    def closing(self) -> Measured:
        """A chunk without choices."""

    async def chunks(self, pacing: Pacing) -> AsyncGenerator[bytes, None]:
        """The answer as a stream of JSON documents; the last one, if asked for, holds usage and metrics only."""
        options = self.request.stream_options
        if self.shows_steps:
            pacing = replace(pacing, smooth=False)
        continuous = options is not None and bool(options.continuous_usage_stats)
        final = options is not None and bool(options.include_usage)
        sent = 0
        async with aclosing(paced(self.generation.deltas(), pacing)) as deltas:
            async for delta in deltas:
                sent += len(delta.tokens)
                for chunk in self.render(delta):
                    if continuous or final:
                        chunk.usage = self.generation.usage(sent) if continuous else None
                    yield chunk.to_json()
        if final or self.request.return_metrics:
            yield self.measure(self.closing(), usage=final).to_json()

    @property
    def shows_steps(self) -> bool:
        """Whether chunks say which forwards brought their tokens; such a stream is not smoothed."""
        options = self.request.stream_options
        return options is not None and bool(options.include_steps)

    def measure(self, answer: Measured, usage: bool = True) -> Measured:
        """Add what the finished generation has cost."""
        if usage:
            answer.usage = self.generation.usage()
        if self.request.return_metrics:
            answer.metrics = self.generation.metrics()
        return answer
