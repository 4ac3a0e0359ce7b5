"""From a request to the deltas of all its choices: one engine sequence per choice, all at once."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec

from engine.fleet import EngineFleet
from engine.messages import Submit
from engine.params import SamplingParams
from models.detokenizer import IncrementalDetokenizer
from models.tokenizer import Tokenizer
from server.account import Account
from server.errors import ApiError, engine_error, unavailable
from server.metrics import ServerMetrics
from server.prompts import Prompt
from server.protocol.usage import CompletionTokensDetails, PromptTokensDetails, RequestMetrics, Usage
from server.reasoning.base import ReasoningParser
from server.timeline import Timeline
from server.tools.choice import ToolUse
from server.transcript import Delta, Stopping, Transcript

#: deltas that may wait behind one another for a slow client; what is beyond waits in the engine client, which counts it
READ_AHEAD = 16


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a request asks of the engine: `n` choices for each prompt, numbered prompt by prompt.

    `limits` are the prompts' max_tokens, since what the context leaves differs; they win over the params' own.
    With `only_scores` the one token the engine has to generate is not shown. `grammar_field` is the client's field that
    asked for the params' grammar. `kept_tokens` are special tokens that are part of the text where others are left out;
    `reasoning` reads the thoughts before an answer, `tools` its calls.
    """

    request_id: str
    prompts: list[Prompt]
    limits: list[int]
    params: SamplingParams
    stopping: Stopping
    n: int = 1
    skip_special_tokens: bool = True
    priority: int = 0
    only_scores: bool = False
    kept_tokens: frozenset[int] = frozenset()
    reasoning: type[ReasoningParser] | None = None
    tools: ToolUse | None = None
    grammar_field: str | None = None
    created: float = field(default_factory=time.time)
    arrived: float = field(default_factory=time.monotonic)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def sequences(self) -> int:
        return len(self.prompts) * self.n

    def prompt_of(self, index: int) -> Prompt:
        """The prompt that choice `index` answers."""
        return self.prompts[index // self.n]

    def submit(self, index: int) -> Submit:
        """The engine's view of choice `index`. Choices of one prompt draw with seeds that follow each other."""
        seed = self.params.seed
        if seed is not None and index % self.n:
            seed = (seed + index % self.n) % 2**64
        params = msgspec.structs.replace(self.params, max_tokens=self.limits[index // self.n], seed=seed)
        return Submit(
            request_id=f"{self.key}-{index}",
            prompt_token_ids=self.prompt_of(index).token_ids,
            params=params,
            priority=self.priority,
            arrival_time=self.arrived,
        )


class Generation:
    """Runs one job. Iterate `deltas()` once; `usage()`, `metrics()` and `account()` then say what it took.

    `failure` is the kind of error that ended it, if one did.
    """

    def __init__(self, job: Job, engine: EngineFleet, tokenizer: Tokenizer, metrics: ServerMetrics) -> None:
        self.job = job
        self.failure: str | None = None
        self._engine = engine
        self._tokenizer = tokenizer
        metrics.request_params_n.observe(job.n)
        for limit in job.limits:
            metrics.request_params_max_tokens.observe(limit)
        self.timelines = [
            Timeline(metrics, job.arrived, len(job.prompt_of(index).token_ids)) for index in range(job.sequences)
        ]
        self._transcripts = [
            Transcript(index, self._detokenizer(), job.stopping, job.only_scores, self._reasoning(index))
            for index in range(job.sequences)
        ]

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """Every choice's deltas as they come. Closing it early aborts the rest. Raises ApiError where one fails."""
        streams = [self._follow(index) for index in range(self.job.sequences)]
        async with aclosing(streams[0] if len(streams) == 1 else _merge(streams)) as merged:
            try:
                async for delta in merged:
                    yield delta
            except ApiError as error:
                self.failure = error.kind
                raise

    def usage(self, sent: int | None = None) -> Usage:
        """All tokens so far, or with the first `sent` generated ones.

        What the prefix cache spared is known once a prompt's first choice has finished.
        """
        prompt = sum(len(prompt.token_ids) for prompt in self.job.prompts)
        completion = sum(transcript.tokens for transcript in self._transcripts) if sent is None else sent
        steps = [timeline.steps for timeline in self.timelines[:: self.job.n]]
        usage = Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=sum(s.cached_tokens for s in steps if s)),
        )
        if self.job.reasoning is not None:
            thoughts = sum(transcript.reasoning_tokens for transcript in self._transcripts)
            usage.completion_tokens_details = CompletionTokensDetails(reasoning_tokens=thoughts)
        return usage

    def metrics(self) -> RequestMetrics:
        """The first choice's figures."""
        return self.timelines[0].report()

    def account(self) -> Account:
        """All choices' figures, for the operator."""
        return Account.of(self.usage(), self.timelines)

    def _detokenizer(self) -> IncrementalDetokenizer:
        return self._tokenizer.detokenizer(self.job.skip_special_tokens, self.job.kept_tokens)

    def _reasoning(self, index: int) -> ReasoningParser | None:
        if self.job.reasoning is None:
            return None
        return self.job.reasoning.after(self.job.prompt_of(index).token_ids, self._tokenizer)

    async def _follow(self, index: int) -> AsyncGenerator[Delta, None]:
        transcript, timeline = self._transcripts[index], self.timelines[index]
        submit = self.job.submit(index)
        try:
            async with aclosing(self._engine.generate(submit)) as outputs:
                async for output in outputs:
                    if output.finish_reason == "error":
                        timeline.finish("error", output)
                        raise engine_error(output, self.job.grammar_field)
                    stopped = transcript.stop_string is not None
                    if output.finish_reason == "abort" and not stopped:
                        raise unavailable(
                            "The server is shutting down; send the request again elsewhere.", "shutting_down"
                        )
                    before = transcript.tokens
                    delta = transcript.take(output)
                    timeline.tokens(transcript.tokens - before)
                    if delta.finish_reason is not None:
                        timeline.finish(delta.finish_reason, output)
                    elif transcript.stop_string is not None and not stopped:
                        self._engine.abort([submit.request_id])
                    yield delta
        finally:
            timeline.finish("abort")


async def _merge(streams: list[AsyncGenerator[Delta, None]]) -> AsyncGenerator[Delta, None]:
    """Items of all streams as they come; the first failure ends all of them."""
    items: asyncio.Queue[Delta | Exception | None] = asyncio.Queue(READ_AHEAD)

    async def pump(stream: AsyncGenerator[Delta, None]) -> None:
        try:
            async for item in stream:
                await items.put(item)
            await items.put(None)
        except Exception as error:
            await items.put(error)

    tasks = [asyncio.create_task(pump(stream)) for stream in streams]
    try:
        running = len(tasks)
        while running:
            item = await items.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
