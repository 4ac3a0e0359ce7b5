"""Times real forwards at start-up, so that the policy begins with this machine's own costs."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.messages import Submit
from engine.params import SamplingParams
from engine.policy.cost import StepCost
from engine.policy.stored import CostStore
from engine.runner import Runner
from engine.sequence import Sequence
from engine.window import Window, WindowShape

#: rows of one sequence that are timed, within about so many seconds in all
PROBED_ROWS = (1, 2, 4, 8, 12, 16, 20, 32, 64, 128, 256)
PROBE_SECONDS = 1.0
#: a probe counts with the least of so many repeats, since whatever else the machine does only adds; with that of more,
#: as long as they are short, since on a CPU the first show how many threads are best
REPEATS, MORE_REPEATS, SHORT_SECONDS = 4, 12, 0.03
#: how many sequences and how long a context show what each adds
MANY_SEQUENCES, LONG_CONTEXT = 8, 512

#: seconds of a step of so many sequences, rows each, and tokens of context each
Step = Callable[[int, int, int], float]


def measure_step_cost(runner: Runner, max_rows: int, max_context: int, store: CostStore | None = None) -> StepCost:
    """A cost table from forwards with their logits, or the stored one if it still holds; leaves the cache's pages as
    they were."""

    def step(sequences: int, rows: int, context: int) -> float:
        windows = [_window(rows, context, runner.attention.storage.page_size) for _ in range(sequences)]
        started = time.perf_counter()
        hidden = runner.forward(windows)
        runner.logits(hidden, list(range(len(hidden)))).argmax(-1).tolist()
        return time.perf_counter() - started

    if store is None:
        return measure_steps(step, max_rows, max_context)
    step(1, 1, 0)
    return store.load_or_measure(lambda: _least(step, 1, 1, 0), lambda: measure_steps(step, max_rows, max_context))


def measure_steps(step: Step, max_rows: int, max_context: int) -> StepCost:
    """Time `step` at growing rows of one sequence, then with many sequences and with a long context.

    On a slow machine larger steps stay unmeasured and are taken to cost in proportion; observed steps correct them.
    """
    started = time.perf_counter()
    step(1, 1, 0)
    table: dict[int, float] = {}
    for rows in PROBED_ROWS:
        if rows > max_rows or (len(table) > 1 and time.perf_counter() - started > PROBE_SECONDS):
            break
        table[rows] = _least(step, 1, rows, 0)
    per_sequence = per_key = per_score = 0.0
    if MANY_SEQUENCES in table:
        each = (_least(step, MANY_SEQUENCES, 1, 0) - table[MANY_SEQUENCES]) / (MANY_SEQUENCES - 1)
        per_sequence = max(0.0, each)
        context = min(LONG_CONTEXT, max_context - MANY_SEQUENCES)
        if context > 0:
            one = max(0.0, _least(step, 1, 1, context) - table[1]) / context
            many = max(one, (_least(step, 1, MANY_SEQUENCES, context) - table[MANY_SEQUENCES]) / context)
            # many = per_key + 8·per_score and one = per_key + per_score
            per_score = (many - one) / (MANY_SEQUENCES - 1)
            per_key = max(0.0, one - per_score)
    return StepCost(list(table), list(table.values()), per_sequence, per_key, per_score)


def _least(step: Step, sequences: int, rows: int, context: int) -> float:
    started = time.perf_counter()
    seconds = [step(sequences, rows, context) for _ in range(REPEATS)]
    while len(seconds) < MORE_REPEATS and time.perf_counter() - started < SHORT_SECONDS:
        seconds.append(step(sequences, rows, context))
    return min(seconds)


def _window(rows: int, context: int, page_size: int) -> Window:
    """A group of masks, which write to scratch slots only, behind a context that is read from the null page."""
    submit = Submit(request_id="probe", prompt_token_ids=[0], params=SamplingParams())
    sequence = Sequence(submit, seed=0, max_len=2, stop_token_ids=frozenset())
    sequence.pages = [0] * (context // page_size + 1)
    sequence.prefix_len = context
    return Window(sequence, [], WindowShape(0, (0,), rows), range(0), decodes=True)
