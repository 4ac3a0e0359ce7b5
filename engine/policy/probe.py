"""Times real forwards at start-up, so that the policy begins with this machine's own costs."""

from __future__ import annotations

import time

from engine.messages import Submit
from engine.params import SamplingParams
from engine.policy.cost import StepCost
from engine.runner import Runner
from engine.sequence import Sequence
from engine.window import Window, WindowShape

#: rows per probing sequence, and the context they pretend to have
ROWS_EACH = 4


def measure_step_cost(runner: Runner, max_rows: int) -> StepCost:
    """Seconds of a forward with its logits, for growing numbers of rows; leaves the cache as it was."""

    def step(rows: int) -> float:
        windows = [_window(min(ROWS_EACH, rows)) for _ in range(max(1, rows // ROWS_EACH))]
        started = time.perf_counter()
        hidden = runner.forward(windows)
        runner.logits(hidden, list(range(len(hidden)))).argmax(-1).tolist()
        return time.perf_counter() - started

    return StepCost.measure(max_rows, step)


def _window(rows: int) -> Window:
    """A window of mask-like rows that writes to scratch slots only: one group, no clean rows."""
    submit = Submit(request_id="probe", prompt_token_ids=[0], params=SamplingParams())
    sequence = Sequence(submit, seed=0, max_len=2, stop_token_ids=frozenset())
    sequence.pages = [0]
    return Window(sequence, [], WindowShape(0, (0,), rows), range(0), decodes=True)
