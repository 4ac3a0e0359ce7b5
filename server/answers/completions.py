"""A generation as /v1/completions shows it."""

from __future__ import annotations

from server.answers.base import Answer
from server.logprobs import completion_logprobs, echoed_tokens, join_completion_logprobs, prompt_logprobs
from server.pacing import collected
from server.protocol.completions import CompletionChoice, CompletionLogprobs, CompletionRequest, CompletionResponse
from server.protocol.steps import StepInfo
from server.protocol.usage import Measured
from server.steps import steps_of
from server.transcript import Delta


class CompletionAnswer(Answer[CompletionRequest]):
    """Text choices; with echo, each begins with its prompt."""

    async def whole(self) -> Measured:
        deltas = await collected(self.generation.deltas(), self.job.sequences)
        return self.measure(self._body([self._choice(delta, first=True) for delta in deltas]))

    def render(self, delta: Delta) -> list[Measured]:
        return [self._body([self._choice(delta, delta.first)])]

    def closing(self) -> Measured:
        return self._body([])

    def _body(self, choices: list[CompletionChoice]) -> CompletionResponse:
        return CompletionResponse(
            id=self.job.request_id,
            object="text_completion",
            created=int(self.job.created),
            model=self.model,
            choices=choices,
        )

    def _choice(self, delta: Delta, first: bool) -> CompletionChoice:
        echo = first and bool(self.request.echo)
        choice = CompletionChoice(
            index=delta.index,
            text=self._prompt_text(delta.index) + delta.text if echo else delta.text,
            logprobs=self._logprobs(delta, echo),
            finish_reason=delta.finish_reason,
        )
        if delta.finish_reason is not None:
            choice.stop_reason = delta.stop_reason
        if delta.prompt_logprobs is not None and self.request.prompt_logprobs is not None:
            choice.prompt_logprobs = prompt_logprobs(self.tokenizer, delta.prompt_logprobs)
        if self.shows_steps:
            choice.tidar = StepInfo(steps=steps_of(delta))
        if self.request.return_token_ids:
            choice.token_ids = [token.id for token in delta.tokens]
            if first:
                choice.prompt_token_ids = self.job.prompt_of(delta.index).token_ids
        return choice

    def _logprobs(self, delta: Delta, echo: bool) -> CompletionLogprobs | None:
        if self.request.logprobs is None:
            return None
        shift = len(self._prompt_text(delta.index)) if self.request.echo else 0
        generated = completion_logprobs(self.tokenizer, delta.tokens, shift)
        if not echo or delta.prompt_logprobs is None:
            return generated
        prompt = self.job.prompt_of(delta.index).token_ids
        echoed = echoed_tokens(self.tokenizer, prompt, delta.prompt_logprobs, self.job.skip_special_tokens)
        return join_completion_logprobs([completion_logprobs(self.tokenizer, echoed), generated])

    def _prompt_text(self, index: int) -> str:
        prompt = self.job.prompt_of(index)
        if prompt.text is not None:
            return prompt.text
        return self.tokenizer.decode(prompt.token_ids, skip_special_tokens=self.job.skip_special_tokens)
