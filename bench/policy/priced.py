"""Real decoding at a machine's prices: the engine runs, and its steps are charged by a table and not by the clock.

So settings can be compared to a percent on a machine whose clock is not that steady, or for one that is not at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from bench.policy.machines import Machine
from bench.policy.sweep import probed
from bench.prompt_file import load_prompts
from bench.settings import Setting, standard_settings
from engine import LLM, SamplingParams
from engine.policy.auto import AutoPolicy
from engine.policy.base import Load, Policy, StepChoice
from engine.policy.record import DraftRecord
from engine.strategies.base import DraftChoice


@dataclass(frozen=True)
class PricedRun:
    """What a setting came to: committed tokens per second at the machine's prices, and per forward of a request."""

    setting: str
    rate: float
    tokens_per_forward: float


class Priced(Policy):
    """A policy that is told the machine's prices in place of the seconds that its steps took."""

    def __init__(self, policy: Policy, machine: Machine, hints: bool) -> None:
        """`hints`: whether the policy may look at single windows."""
        self.policy = policy
        self.machine = machine
        self.hints = hints
        self.seconds = 0.0
        self.tokens = 0
        self.windows = 0
        self._step_tokens = 0

    def choose(self, load: Load, row_budget: int) -> DraftChoice:
        return self.policy.choose(load, row_budget)

    def choose_each(self, load: Load, row_budget: int, records: Sequence[DraftRecord]) -> StepChoice:
        self._step_tokens = 0
        chosen = self.policy.choose_each(load, row_budget, records)
        self.wants_hints = self.hints and self.policy.wants_hints
        return chosen

    def observe_window(self, drafted: int, accepted: int, record: DraftRecord) -> None:
        self._step_tokens += accepted + 1
        self.policy.observe_window(drafted, accepted, record)

    def observe_step(self, rows: int, load: Load, seconds: float) -> None:
        seconds = self.machine.seconds(rows, load)
        self.seconds += seconds
        self.tokens += self._step_tokens
        self.windows += load.sequences
        self.policy.observe_step(rows, load, seconds)

    def expected_rate(self, load: Load) -> float:
        return self.policy.expected_rate(load)


def priced_runs(
    model: Path, machine: Machine, concurrency: int, draft_length: int, prompts: int, params: SamplingParams
) -> list[PricedRun]:
    """Every setting on the built-in prompts, each with a seed of its own; AR first, auto without hints and auto last.

    A step with a prompt in it is left out, tokens and seconds.
    """
    settings = standard_settings(draft_length)
    blind = Setting(f"{settings[-1].name} without hints", settings[-1].fields)
    texts = load_prompts(None, prompts)
    runs = []
    for setting in (*settings[:-1], blind, settings[-1]):
        llm = setting.load(str(model), {"max_num_seqs": concurrency, "async_scheduling": False})
        priced = _priced(llm, machine, hints=setting is not blind)
        llm.generate(texts, [replace(params, seed=i) for i in range(prompts)])
        runs.append(PricedRun(setting.name, priced.tokens / priced.seconds, priced.tokens / priced.windows))
    return runs


def _priced(llm: LLM, machine: Machine, hints: bool) -> Priced:
    policy = llm.engine.policy
    if isinstance(policy, AutoPolicy):
        policy.cost = probed(machine)
    llm.engine.policy = priced = Priced(policy, machine, hints)
    return priced
