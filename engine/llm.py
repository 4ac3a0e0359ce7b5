"""The Python API: prompts in, completions out, in this process."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import RequestError
from engine.messages import EngineStats, Output, RequestSteps, Submit, TokenLogprobs
from engine.params import SamplingParams
from models.sources import resolve
from models.tokenizer import Tokenizer

Prompt = str | list[int]


@dataclass
class Completion:
    """One finished request. `finish_reason` is stop, length or error (then `error` says why)."""

    prompt_token_ids: list[int]
    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: str = ""
    error: str | None = None
    logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    steps: RequestSteps | None = None


class LLM:
    """An engine with a tokenizer, for scripts, tests and benchmarks.

    `LLM("folder", decoding="ar").generate(["def f("], SamplingParams(max_tokens=32))`
    """

    def __init__(self, model: str | Path, **settings: Any) -> None:
        """`model` is whatever `tidar serve` takes, `settings` are EngineConfig's fields.

        Raises EngineError or ModelError, one sentence each.
        """
        self._folder = resolve(str(model))
        self.engine = Engine(EngineConfig(model=str(self._folder), **settings))
        self._tokenizer: Tokenizer | None = None
        self._requests = 0

    @property
    def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            self._tokenizer = Tokenizer.from_folder(self._folder)
        return self._tokenizer

    @property
    def stats(self) -> EngineStats:
        return self.engine.stats()

    def close(self) -> None:
        """End the other processes of a model that is split; nothing can be generated any more."""
        self.engine.close()

    def generate(
        self, prompts: Many[Prompt], params: SamplingParams | Many[SamplingParams] | None = None
    ) -> list[Completion]:
        """Complete every prompt (text or token ids), batched; one `params` for all or one each.

        Raises RequestError, before any work, where a prompt can never be served.
        """
        if params is None or isinstance(params, SamplingParams):
            each = [params or SamplingParams()] * len(prompts)
        else:
            each = list(params)
        if len(each) != len(prompts):
            raise RequestError(f"There are {len(prompts)} prompts but {len(each)} sampling parameters.", "params")
        completions: dict[str, Completion] = {}
        try:
            for prompt, wanted in zip(prompts, each, strict=True):
                request_id, token_ids = self._submit(prompt, wanted)
                completions[request_id] = Completion(token_ids)
        except RequestError:
            self.engine.abort(list(completions))
            self.engine.step()
            raise
        while self.engine.has_work:
            for output in self.engine.step():
                self._add(completions[output.request_id], output)
        if any(isinstance(prompt, str) for prompt in prompts):
            for completion in completions.values():
                completion.text = self.tokenizer.decode(completion.token_ids)
        return list(completions.values())

    def _submit(self, prompt: Prompt, params: SamplingParams) -> tuple[str, list[int]]:
        token_ids = self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
        self._requests += 1
        request_id = f"llm-{self._requests}"
        self.engine.submit(Submit(request_id=request_id, prompt_token_ids=token_ids, params=params))
        return request_id, token_ids

    @staticmethod
    def _add(completion: Completion, output: Output) -> None:
        completion.token_ids += output.token_ids
        if output.logprobs is not None:
            completion.logprobs = (completion.logprobs or []) + output.logprobs
        if output.prompt_logprobs is not None:
            completion.prompt_logprobs = output.prompt_logprobs
        if output.finish_reason is not None:
            completion.finish_reason, completion.error = output.finish_reason, output.error
            completion.steps = output.steps
