"""The engine's one-ahead loop on a rig: the gap that the host leaves between steps, and forced acceptance."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.gpu.figures import Run
from bench.gpu.rig import PAGE, SLACK, Rig
from bench.gpu.timing import Budget, synchronize
from engine.cache.pages import PagePool
from engine.messages import Submit
from engine.params import SamplingParams
from engine.policy.fixed import FixedPolicy
from engine.resident.loop import ResidentLoop, Step
from engine.resident.plan import GraphKey
from engine.resident.sampling import Draw
from engine.resident.shapes import resident_shape
from engine.resident.synthetic import accept_at_random
from engine.scheduler import Scheduler
from engine.sequence import Sequence
from engine.stats import StatsRecorder
from engine.strategies.base import DraftChoice
from engine.strategies.draft_verify import DraftVerify
from engine.window import WindowShape

#: steps that do not count, and those that do
WARM, COUNTED = 5, 50


@dataclass(frozen=True)
class Setting:
    """How a run drafts: k and the number of groups; k = 1 is AR."""

    k: int
    groups: int

    @property
    def label(self) -> str:
        if self.k == 1:
            return "AR"
        if self.groups in (0, self.k):
            return f"k={self.k} {'full' if self.groups else 'none'}"
        return f"k={self.k} {self.groups} groups"


def run_loop(
    name: str, rig: Rig, setting: Setting, batch: int, context: int, rate: float | None, device_time: DeviceTime | None
) -> Run:
    """Decode for a while through the resident loop; `rate` forces acceptance, None leaves it to the random weights."""
    step = rig.step() if rate is None else rig.step(accept_at_random(rate))
    shapes = _shapes(setting, batch)
    graphed = rig.graphed(step, batch, shapes)
    device_seconds = None
    if graphed is not None and device_time is not None:
        rig.prepare(batch, context)
        replayed, key = graphed, GraphKey(batch, shapes[0], Draw.NOISY)
        device_seconds = device_time(lambda: replayed.replay(key))
    loop, sequences = _loop(rig, graphed or step, setting, batch, context)
    for _ in range(WARM):
        loop.step()
    synchronize(rig.device)
    before, steps = sum(s.output_len for s in sequences), 0
    started = time.perf_counter()
    while steps < COUNTED and all(s.finish_reason is None for s in sequences):
        loop.step()
        steps += 1
    seconds = time.perf_counter() - started
    tokens = sum(s.output_len for s in sequences) - before
    return Run(
        model=name,
        label=setting.label,
        batch=batch,
        context=context,
        acceptance=rate,
        seconds=seconds / steps,
        tokens_per_second=tokens / seconds,
        tokens_per_forward=tokens / steps / batch,
        device_seconds=device_seconds,
    )


#: median seconds of a piece of device work
DeviceTime = Callable[[Callable[[], object]], float]


def measure_runs(
    name: str, rig: Rig, settings: list[Setting], batches: list[int], rates: list[float], context: int, budget: Budget
) -> list[Run]:
    """AR once per batch and every other setting at every forced rate, as far as memory and time allow."""
    runs: list[Run] = []
    for batch in batches:
        for setting in settings:
            for rate in rates if setting.k > 1 else rates[:1]:
                if budget.spent or not rig.fits(batch, context) or not _shapes(setting, batch):
                    continue
                runs.append(run_loop(name, rig, setting, batch, context, rate, None))
    return runs


def _shapes(setting: Setting, batch: int) -> list[WindowShape]:
    """The windows that steps of the setting alternate between; none where it does not fit a step's rows."""
    choice = DraftChoice(setting.k, tuple(range(1, setting.groups + 1)))
    shapes = [resident_shape(choice, batch, _rows(batch), cold) for cold in (False, True)]
    return list(dict.fromkeys(shape for shape in shapes if shape is not None))


def _rows(batch: int) -> int:
    return max(1024, batch)


def _loop(rig: Rig, step: Step, setting: Setting, batch: int, context: int) -> tuple[ResidentLoop, list[Sequence]]:
    mask = rig.config.draft.mask_token_id if rig.config.draft else None
    pool = PagePool(rig.num_pages, PAGE, prefix_caching=False)
    scheduler = Scheduler(DraftVerify(mask), pool, batch, _rows(batch))
    scheduler.running = [_sequence(index, context) for index in range(batch)]
    policy = FixedPolicy(setting.k, setting.groups)
    state, scratch, vocab = rig.state, rig.storage.scratch_page, rig.config.vocab_size
    loop = ResidentLoop(step, state, scheduler, policy, StatsRecorder(), scratch, vocab)
    return loop, scheduler.running


def _sequence(index: int, context: int) -> Sequence:
    """A sequence that has just begun to decode behind so many tokens."""
    params = SamplingParams(max_tokens=SLACK, ignore_eos=True, seed=index)
    submit = Submit(request_id=str(index), prompt_token_ids=[3] * context, params=params)
    sequence = Sequence(submit, index, context + SLACK, frozenset())
    sequence.tokens.append(3)
    sequence.prefix_len = context
    return sequence
