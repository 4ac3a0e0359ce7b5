"""Runs settings in turn, several times each, and keeps what each repetition cost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from bench.forced import ForcedDrafts
from engine import LLM, SamplingParams
from engine.messages import Submit


@dataclass
class Measurement:
    """One setting at one concurrency. Rates in tokens/s, one per repetition; step times in seconds by rows per step."""

    name: str
    concurrency: int
    rates: list[float] = field(default_factory=list)
    steps: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    forwards: int = 0
    committed: int = 0
    drafted: int = 0
    accepted_per_position: list[int] = field(default_factory=list)
    cold_steps: int = 0
    outputs: list[list[int]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return median(self.rates)

    @property
    def tokens_per_forward(self) -> float:
        return self.committed / max(1, self.forwards)

    def step_time(self) -> tuple[int, float]:
        """The commonest number of rows per step, and the median seconds of such a step."""
        rows = max(self.steps, key=lambda n: len(self.steps[n]))
        return rows, median(self.steps[rows])


def run_once(
    llm: LLM,
    prompts: list[list[int]],
    params: list[SamplingParams],
    into: Measurement,
    forced: ForcedDrafts | None = None,
) -> None:
    """Complete all prompts with at most `concurrency` in flight; timed from the first submission to the last token."""
    engine = llm.engine
    before = engine.stats()
    start_counts = before.decode_forwards, before.committed_tokens, before.draft_tokens, before.cold_steps
    start_positions = list(before.accepted_per_position)
    outputs: dict[str, list[int]] = {str(i): [] for i in range(len(prompts))}
    queue = list(range(len(prompts)))[::-1]
    active = 0
    started = time.perf_counter()
    while queue or active:
        while queue and active < into.concurrency:
            i = queue.pop()
            engine.submit(Submit(request_id=str(i), prompt_token_ids=prompts[i], params=params[i]))
            active += 1
        if forced is not None:
            forced.apply(engine)
        step_started = time.perf_counter()
        published = engine.step()
        into.steps[engine.recorder.last_rows].append(time.perf_counter() - step_started)
        for output in published:
            outputs[output.request_id] += output.token_ids
            active -= output.finish_reason is not None
    seconds = time.perf_counter() - started
    stats = engine.stats()
    into.rates.append(sum(map(len, outputs.values())) / seconds)
    into.outputs = list(outputs.values())
    into.forwards += stats.decode_forwards - start_counts[0]
    into.committed += stats.committed_tokens - start_counts[1]
    into.drafted += stats.draft_tokens - start_counts[2]
    into.cold_steps += stats.cold_steps - start_counts[3]
    _add_positions(into.accepted_per_position, stats.accepted_per_position, start_positions)


def measure(
    engines: dict[str, LLM],
    prompts: list[list[int]],
    params: list[SamplingParams],
    concurrency: int,
    repetitions: int,
    progress: Callable[[str], None],
    forced_acceptance: float | None = None,
) -> list[Measurement]:
    """All engines in turn (A B C, A B C, …), so that a machine whose speed drifts is fair to each; one warm-up round.

    The warm-up uses other prompts than the counted rounds, and prefix caching is expected to be off, so that no
    round finds its prompts computed. With `forced_acceptance`, drafts are right with that probability against the
    first engine's answers.
    """
    results = {name: Measurement(name, concurrency) for name in engines}
    first = next(iter(results.values()))
    for round_number in range(repetitions + 1):
        for name, llm in engines.items():
            progress(f"{name}, concurrency {concurrency}, round {round_number} of {repetitions}")
            if round_number == 0:
                count = max(1, min(len(prompts), concurrency))
                warm_up = [prompt[::-1] for prompt in prompts[:count]]
                run_once(llm, warm_up, params[:count], Measurement(name, concurrency))
            else:
                forced = None
                if forced_acceptance is not None and results[name] is not first:
                    forced = ForcedDrafts(forced_acceptance, first.outputs, llm.engine.ready().vocab_size)
                run_once(llm, prompts, params, results[name], forced)
    return list(results.values())


def _add_positions(total: list[int], now: list[int], before: list[int]) -> None:
    total.extend([0] * (len(now) - len(total)))
    for i, count in enumerate(now):
        total[i] += count - (before[i] if i < len(before) else 0)
