"""AR, every fixed setting and `auto` on one trace, over concurrency."""

from __future__ import annotations

from dataclasses import dataclass

from bench.policy.machines import Machine
from bench.policy.simulate import simulate
from bench.policy.traces import Trace
from engine.policy.auto import AutoPolicy
from engine.policy.base import Load, Policy
from engine.policy.cost import StepCost
from engine.policy.fixed import FixedPolicy

PROBED_ROWS = [1, 2, 4, 8, 12, 16, 20, 32, 64, 128, 256]
PROBED_CONTEXT = 512


@dataclass(frozen=True)
class Point:
    """Tokens per second at one concurrency, by setting; settings are "AR", "auto" and "k=8, 3 groups"."""

    concurrency: int
    rates: dict[str, float]

    @property
    def best_fixed(self) -> tuple[str, float]:
        """The best of AR and all fixed settings, in hindsight."""
        name = max((n for n in self.rates if n != "auto"), key=lambda n: self.rates[n])
        return name, self.rates[name]

    @property
    def speed_up(self) -> float:
        """auto over AR."""
        return self.rates["auto"] / self.rates["AR"]

    @property
    def regret(self) -> float:
        """The share of the best fixed setting's rate that auto misses; below 0 where it is faster."""
        return 1 - self.rates["auto"] / self.best_fixed[1]


def sweep(machine: Machine, trace: Trace, concurrency: int, draft_lengths: list[int]) -> Point:
    """Every setting decodes the whole trace; `auto` starts with what a probe of the machine would tell it."""
    policies: dict[str, Policy] = {"AR": FixedPolicy(1, 0)}
    for k in draft_lengths:
        for groups in sorted({0, 1, 2, 3, k // 2, k} & set(range(k + 1))):
            policies[f"k={k}, {groups} groups"] = FixedPolicy(k, groups)
    policies["auto"] = AutoPolicy(draft_lengths, probed(machine))
    return Point(concurrency, {n: simulate(p, machine, trace, concurrency).rate for n, p in policies.items()})


def probed(machine: Machine) -> StepCost:
    """The cost table that the engine's start-up probe would measure: one sequence, then one with a context."""
    alone = Load(1)
    seconds = [machine.seconds(rows, alone) for rows in PROBED_ROWS]
    per_key = (machine.seconds(1, Load(1, PROBED_CONTEXT)) - seconds[0]) / PROBED_CONTEXT
    return StepCost(PROBED_ROWS, seconds, per_key=max(0.0, per_key))
