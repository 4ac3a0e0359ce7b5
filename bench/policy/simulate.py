"""A server that decodes a trace: the policy under test, a machine's step cost, and no model."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.policy.machines import Machine
from bench.policy.traces import Trace
from engine.policy.base import Load, Policy
from engine.policy.record import DraftRecord
from engine.strategies.base import DraftChoice

#: tokens of context that every sequence starts with
CONTEXT = 512


@dataclass(frozen=True)
class Run:
    """Committed tokens of all sequences, steps, and simulated seconds."""

    tokens: int
    steps: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


@dataclass
class _Sequence:
    """`position` of d_0 in the trace, and how many drafts beside it wait to be verified."""

    position: int = 0
    drafts: int = 0
    record: DraftRecord = field(default_factory=DraftRecord)

    def plan(self, choice: DraftChoice) -> tuple[int, tuple[int, ...]]:
        """Drafts and groups of the next window, as the draft-and-verify strategy plans them."""
        drafted = min(self.drafts, choice.draft_length - 1)
        if choice.draft_length == 1:
            return 0, ()
        return drafted, tuple(j for j in choice.groups if j <= drafted + 1) if drafted else (1,)


def simulate(policy: Policy, machine: Machine, trace: Trace, concurrency: int, row_budget: int = 8192) -> Run:
    """Decode the trace's sequences in order, `concurrency` at a time; when one ends the next takes its place.

    The run is counted while all places are taken, so that the thin end of a batch does not blur the figure.
    """
    runs = trace.tolist()
    length = trace.shape[1]
    queue = list(range(len(runs)))[::-1]
    active: list[tuple[_Sequence, list[int]]] = []
    tokens, steps, seconds = 0, 0, 0.0
    while True:
        active = [(sequence, run) for sequence, run in active if sequence.position < length]
        while queue and len(active) < concurrency:
            active.append((_Sequence(), runs[queue.pop()]))
        if len(active) < concurrency:
            return Run(tokens, steps, seconds)
        load = Load(len(active), sum(CONTEXT + sequence.position for sequence, _ in active))
        step = policy.choose_each(load, row_budget, [sequence.record for sequence, _ in active])
        rows, outcomes = 0, []
        for sequence, run in active:
            choice = step.of(sequence.record)
            drafted, groups = sequence.plan(choice)
            rows += 1 + drafted + len(groups) * choice.draft_length
            accepted = min(drafted, run[sequence.position])
            tokens += min(accepted + 1, length - sequence.position)
            sequence.position += accepted + 1
            sequence.drafts = choice.draft_length - 1 if accepted + 1 in groups else 0
            outcomes.append((drafted, accepted, sequence.record))
        elapsed = machine.seconds(rows, load)
        for drafted, accepted, record in outcomes:
            policy.observe_window(drafted, accepted, record)
        policy.observe_step(rows, load, elapsed)
        seconds += elapsed
        steps += 1
