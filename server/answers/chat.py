"""A generation as /v1/chat/completions shows it."""

from __future__ import annotations

from models.tokenizer import Tokenizer
from server.answers.base import Answer
from server.answers.message import message_reader, whole_message
from server.generation import Generation
from server.logprobs import chat_logprobs, prompt_logprobs
from server.pacing import collected
from server.protocol.chat import (
    ChatChoice,
    ChatChunk,
    ChatLogprobs,
    ChatRequest,
    ChatResponse,
    ChunkChoice,
    MessageDelta,
)
from server.protocol.steps import Step, StepInfo
from server.protocol.usage import Measured
from server.steps import steps_of
from server.transcript import Delta, Token


class ChatAnswer(Answer[ChatRequest]):
    """Assistant messages, one per choice."""

    def __init__(self, request: ChatRequest, generation: Generation, tokenizer: Tokenizer, model: str) -> None:
        super().__init__(request, generation, tokenizer, model)
        self._shows_reasoning = request.include_reasoning is not False
        self._readers = [message_reader(self.job, tokenizer, self._shows_reasoning) for _ in range(self.job.sequences)]
        #: tokens by choice that no chunk has carried yet, and the steps they came with
        self._waiting: dict[int, list[Token]] = {}
        self._steps: dict[int, list[Step]] = {}

    async def whole(self) -> Measured:
        deltas = await collected(self.generation.deltas(), self.job.sequences)
        answer = ChatResponse(
            id=self.job.request_id,
            object="chat.completion",
            created=int(self.job.created),
            model=self.model,
            choices=[self._choice(delta) for delta in deltas],
        )
        scored = deltas[0].prompt_logprobs
        if self.request.prompt_logprobs is not None and scored is not None:
            answer.prompt_logprobs = prompt_logprobs(self.tokenizer, scored)
        if self.request.return_token_ids:
            answer.prompt_token_ids = self.job.prompts[0].token_ids
        return self.measure(answer)

    def render(self, delta: Delta) -> list[Measured]:
        """A chunk per part of the message; a choice's first is preceded by one that names the role.

        What belongs to tokens goes with their last part; tokens that show nothing yet wait for some that do.
        """
        tokens = self._waiting.pop(delta.index, []) + delta.tokens
        steps = self._steps.pop(delta.index, []) + (steps_of(delta, self._shows_reasoning) if self.shows_steps else [])
        reader = self._readers[delta.index]
        parts = reader.take(delta)
        chunks = [self._opening(delta.index)] if delta.first else []
        if not parts and delta.finish_reason is None and reader.parses:
            self._waiting[delta.index], self._steps[delta.index] = tokens, steps
            return [*chunks]
        for part in parts[:-1]:
            nothing = ChatLogprobs(content=[]) if self.request.logprobs else None
            chunks.append(
                self._chunk([ChunkChoice(index=delta.index, delta=part, logprobs=nothing, finish_reason=None)])
            )
        choice = ChunkChoice(
            index=delta.index,
            delta=parts[-1] if parts else MessageDelta(),
            logprobs=self._logprobs(tokens),
            finish_reason=reader.finish_reason,
        )
        if delta.finish_reason is not None:
            choice.stop_reason = delta.stop_reason
        if self.request.return_token_ids:
            choice.token_ids = [token.id for token in tokens]
        if self.shows_steps:
            choice.tidar = StepInfo(steps=steps)
        return [*chunks, self._chunk([choice])]

    def _opening(self, index: int) -> ChatChunk:
        role = MessageDelta(role="assistant", content="")
        opening = self._chunk([ChunkChoice(index=index, delta=role, logprobs=None, finish_reason=None)])
        if self.request.return_token_ids:
            opening.prompt_token_ids = self.job.prompts[0].token_ids
        return opening

    def closing(self) -> Measured:
        return self._chunk([])

    def _chunk(self, choices: list[ChunkChoice]) -> ChatChunk:
        return ChatChunk(
            id=self.job.request_id,
            object="chat.completion.chunk",
            created=int(self.job.created),
            model=self.model,
            choices=choices,
        )

    def _choice(self, delta: Delta) -> ChatChoice:
        reader = self._readers[delta.index]
        choice = ChatChoice(
            index=delta.index,
            message=whole_message(reader.take(delta)),
            logprobs=self._logprobs(delta.tokens),
            finish_reason=reader.finish_reason,
            stop_reason=delta.stop_reason,
        )
        if self.request.return_token_ids:
            choice.token_ids = [token.id for token in delta.tokens]
        return choice

    def _logprobs(self, tokens: list[Token]) -> ChatLogprobs | None:
        if not self.request.logprobs:
            return None
        return chat_logprobs(self.tokenizer, tokens, self.request.top_logprobs or 0)
