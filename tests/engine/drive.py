"""Builds engines on tiny checkpoints, runs requests to their end and collects what was published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config import EngineConfig
from engine.engine import Engine
from engine.messages import Output, RequestSteps, Submit, TokenLogprobs
from engine.params import SamplingParams
from engine.policy.auto import AutoPolicy
from engine.policy.base import Load
from engine.policy.comparison import Comparison
from engine.policy.cost import StepCost

EachStep = Callable[[Engine], None]


@dataclass
class Done:
    """Everything one request answered; `pieces` are the token counts of its outputs."""

    token_ids: list[int] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    finish_reason: str | None = None
    stop_token_id: int | None = None
    error: str | None = None
    steps: RequestSteps | None = None

    def add(self, output: Output) -> None:
        assert self.finish_reason is None, "an output came after the last one"
        self.token_ids += output.token_ids
        self.pieces.append(len(output.token_ids))
        self.logprobs += output.logprobs or []
        self.prompt_logprobs = output.prompt_logprobs or self.prompt_logprobs
        self.finish_reason, self.stop_token_id = output.finish_reason, output.stop_token_id
        self.error, self.steps = output.error, output.steps


def make_engine(folder: Path, **settings: Any) -> Engine:
    """An engine in float64 on one thread, with the plain loop on a GPU too, unless told otherwise."""
    usual: dict[str, Any] = {"dtype": "float64", "threads": 1, "async_scheduling": False}
    return Engine(EngineConfig(model=str(folder), **{**usual, **settings}))


class _AtPrices(StepCost):
    """Steps as the table says, whatever the clock does."""

    def observe(self, rows: int, load: Load, seconds: float) -> None:
        pass


class _AlwaysApart(Comparison):
    """Never given up."""

    def observe(self, tokens: int, seconds: float) -> None:
        pass


def make_refining_engine(folder: Path, **settings: Any) -> Engine:
    """An engine under `auto` whose steps cost what makes some drafts and groups worth their rows and others not, and
    which refines its windows for ever."""
    engine = make_engine(folder, decoding="tidar", predrafts="auto", **settings)
    policy = engine.policy
    assert isinstance(policy, AutoPolicy)
    policy.cost = _AtPrices([1, 512], [1.0, 9.0])
    policy.refinement.comparison = _AlwaysApart(policy.refinement.comparison.turns)
    return engine


def request(request_id: str, prompt: list[int], priority: int = 0, **params: Any) -> Submit:
    """A request; greedy unless `params` give a temperature."""
    chosen = SamplingParams(**{"temperature": 0.0, **params})
    return Submit(request_id=request_id, prompt_token_ids=prompt, params=chosen, priority=priority)


def run(engine: Engine, requests: Iterable[Submit], each_step: EachStep | None = None) -> dict[str, Done]:
    """Submit all, step until the engine is idle (calling `each_step` before every step), and check that it is clean."""
    done: dict[str, Done] = {}
    for submit in requests:
        engine.submit(submit)
        done[submit.request_id] = Done()
    while engine.has_work:
        if each_step is not None:
            each_step(engine)
        for output in engine.step():
            done[output.request_id].add(output)
    engine.check_idle()
    assert all(answer.finish_reason is not None for answer in done.values())
    return done


def tokens(done: Mapping[str, Done]) -> dict[str, list[int]]:
    return {request_id: answer.token_ids for request_id, answer in done.items()}


def endings(done: Mapping[str, Done]) -> dict[str, tuple[list[int], str | None, int | None]]:
    """Tokens, finish reason and stop token of every request: what must not depend on how it was decoded."""
    return {key: (answer.token_ids, answer.finish_reason, answer.stop_token_id) for key, answer in done.items()}


def acceptance(engine: Engine) -> float:
    """Tokens committed per decode forward since the engine started."""
    stats = engine.stats()
    return stats.committed_tokens / stats.decode_forwards
