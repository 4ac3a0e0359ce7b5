"""A generation as /v1/chat/completions shows it."""

from __future__ import annotations

from server.answers.base import Answer
from server.logprobs import chat_logprobs, prompt_logprobs
from server.pacing import collected
from server.protocol.chat import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatLogprobs,
    ChatRequest,
    ChatResponse,
    ChunkChoice,
    MessageDelta,
)
from server.protocol.usage import Measured
from server.transcript import Delta


class ChatAnswer(Answer[ChatRequest]):
    """Assistant messages, one per choice."""

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
        """One chunk; a choice's first is preceded by one that names the role."""
        content = MessageDelta(content=delta.text) if delta.text else MessageDelta()
        choice = ChunkChoice(
            index=delta.index, delta=content, logprobs=self._logprobs(delta), finish_reason=delta.finish_reason
        )
        if delta.finish_reason is not None:
            choice.stop_reason = delta.stop_reason
        if self.request.return_token_ids:
            choice.token_ids = [token.id for token in delta.tokens]
        if not delta.first:
            return [self._chunk([choice])]
        role = MessageDelta(role="assistant", content="")
        opening = self._chunk([ChunkChoice(index=delta.index, delta=role, logprobs=None, finish_reason=None)])
        if self.request.return_token_ids:
            opening.prompt_token_ids = self.job.prompts[0].token_ids
        return [opening, self._chunk([choice])]

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
        choice = ChatChoice(
            index=delta.index,
            message=AssistantMessage(role="assistant", content=delta.text, refusal=None),
            logprobs=self._logprobs(delta),
            finish_reason=delta.finish_reason,
            stop_reason=delta.stop_reason,
        )
        if self.request.return_token_ids:
            choice.token_ids = [token.id for token in delta.tokens]
        return choice

    def _logprobs(self, delta: Delta) -> ChatLogprobs | None:
        if not self.request.logprobs:
            return None
        return chat_logprobs(self.tokenizer, delta.tokens, self.request.top_logprobs or 0)
