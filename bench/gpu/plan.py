"""What one run measures, in which order, and how its time is dealt out."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product

import torch
from rich.console import Console

from bench.gpu.device import describe, measure_ceilings
from bench.gpu.fidelity import measure_fidelity
from bench.gpu.http import measure_http, saved
from bench.gpu.peer import measure_transformers
from bench.gpu.report import Report
from bench.gpu.rig import Rig
from bench.gpu.running import Setting, measure_runs, run_loop
from bench.gpu.shapes import MODELS
from bench.gpu.steps import cases, measure_steps
from bench.gpu.timing import Budget, seconds_of


@dataclass(frozen=True)
class Plan:
    """Models by name, and what is varied; `shares` are parts of the time left for each of a model's sections."""

    models: tuple[str, ...]
    dtype: torch.dtype
    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    rates: tuple[float, ...]
    settings: tuple[Setting, ...]
    run_batches: tuple[int, ...]
    served: tuple[Setting, ...]
    served_context: int
    served_tokens: int
    note: str = ""


FULL = Plan(
    models=("Qwen2.5-1.5B", "Qwen3-8B"),
    dtype=torch.bfloat16,
    lengths=(8, 16, 4),
    batches=(1, 2, 4, 8, 16, 32, 64),
    contexts=(1024, 8192),
    rates=(0.6, 0.8, 0.9),
    settings=(Setting(1, 0), Setting(4, 4), Setting(8, 8), Setting(8, 3), Setting(16, 3)),
    run_batches=(1, 8, 32),
    served=(Setting(1, 0), Setting(8, 8)),
    served_context=512,
    served_tokens=512,
)
TINY_PLAN = Plan(
    models=("tiny",),
    dtype=torch.float32,
    lengths=(4,),
    batches=(1, 2),
    contexts=(32, 64),
    rates=(0.5, 0.9),
    settings=(Setting(1, 0), Setting(4, 4), Setting(4, 3), Setting(4, 0)),
    run_batches=(1, 2),
    served=(Setting(1, 0), Setting(4, 4)),
    served_context=32,
    served_tokens=64,
    note="a tiny model: shows that the command works, not how fast anything is",
)


def run(plan: Plan, device: torch.device, seconds: float, console: Console) -> Report:
    """Measure everything that fits the time; a section that breaks off does not take the others with it."""
    started = time.perf_counter()
    bench = _Bench(plan, device, Budget(seconds), console)
    bench.run()
    bench.report.seconds = time.perf_counter() - started
    return bench.report


class _Bench:
    """One run on one device."""

    def __init__(self, plan: Plan, device: torch.device, budget: Budget, console: Console) -> None:
        self.plan, self.device, self.budget, self.console = plan, device, budget, console
        facts = describe(device) | ({"note": plan.note} if plan.note else {})
        self.report = Report(facts, measure_ceilings(device, plan.dtype, tiny=bool(plan.note)))

    def run(self) -> None:
        if self.device.type == "cuda":
            self._section("kernel", 0.15, lambda: _kernel(self.report, self.device, self.budget, self.console))
            self._section("filters", 0.05, lambda: _filters(self.report, self.device, self.budget, self.console))
        for index, name in enumerate(self.plan.models):
            # the last part is for serving over HTTP
            share = 1 / (len(self.plan.models) - index + 0.4)
            self._on_rig(name, share)
            self._section(f"{name}, transformers", 0.3 * share, partial(self._peer, name))
        first = self.plan.models[0]
        self._section(f"{first}, rounding", 0.5, partial(self._fidelity, first))
        self._section(f"{first}, HTTP", 1.0, partial(self._http, first))

    def _on_rig(self, name: str, share: float) -> None:
        plan = self.plan
        try:
            rig = Rig(MODELS[name], self.device, plan.dtype, plan.batches[-1], plan.contexts[-1], max(plan.lengths))
        except RuntimeError as error:
            self.report.failed.append(f"{name} could not be set up: {error}")
            return
        self._section(f"{name}, steps", 0.55 * share, partial(self._steps, name, rig))
        self._section(f"{name}, host gap", 0.2 * share, partial(self._gaps, name, rig))
        self._section(f"{name}, forced acceptance", 0.4 * share, partial(self._forced, name, rig))

    def _section(self, label: str, share: float, work: Callable[[], None]) -> None:
        self.console.print(label)
        self.budget.begin(share)
        try:
            work()
        except RuntimeError as error:
            self.report.failed.append(f"{label} broke off: {error}")
        _free(self.device)

    def _steps(self, name: str, rig: Rig) -> None:
        plan = self.plan
        wanted = cases(list(plan.lengths), list(plan.batches), list(plan.contexts))
        measure_steps(name, rig, wanted, self.report, self.budget)

    def _gaps(self, name: str, rig: Rig) -> None:
        for setting in self.plan.settings[:3]:
            time = partial(seconds_of, device=self.device)
            self.report.gaps.append(run_loop(name, rig, setting, 1, self.plan.contexts[0], None, time))

    def _forced(self, name: str, rig: Rig) -> None:
        plan = self.plan
        self.report.forced += measure_runs(
            name, rig, list(plan.settings), list(plan.run_batches), list(plan.rates), plan.contexts[0], self.budget
        )

    def _http(self, name: str) -> None:
        plan = self.plan
        with saved(name, plan.dtype, self.device) as folder:
            _free(self.device)
            wanted = list(plan.served), list(plan.run_batches), [plan.rates[-1]]
            self.report.served += measure_http(
                name, folder, self.device, *wanted, plan.served_context, plan.served_tokens, self.budget
            )

    def _fidelity(self, name: str) -> None:
        found = measure_fidelity(name, MODELS[name], self.device, self.plan.dtype)
        self.report.fidelity.append(found)

    def _peer(self, name: str) -> None:
        wanted = [(batch, self.plan.contexts[0]) for batch in self.plan.run_batches]
        self.report.peers += measure_transformers(name, MODELS[name], self.device, self.plan.dtype, wanted, self.budget)


def _kernel(report: Report, device: torch.device, budget: Budget, console: Console) -> None:
    """The attention kernel alone, where Triton is."""
    try:
        from bench.gpu import kernel
    except ImportError:
        report.left_out.append("the attention kernel: Triton is not installed")
        return
    results = []
    for case in kernel.standard_cases():
        if budget.spent:
            report.left_out.append(f"kernel, {case.heads.name}, {case.label}, batch {case.batch}: out of time")
            continue
        results.append(kernel.measure(case, device))
    console.print(kernel.table(results, report.ceilings.bandwidth))
    for result in results:
        case = result.case
        report.kernel.append(
            {
                "model": case.heads.name,
                "window": case.label,
                "batch": case.batch,
                "context": case.context,
                "error": result.error,
                "correct": result.correct,
                "seconds": result.seconds,
                "bytes": result.bytes,
                "share_of_copy": result.bytes_per_second / report.ceilings.bandwidth,
            }
        )


def _filters(report: Report, device: torch.device, budget: Budget, console: Console) -> None:
    """What filtering logits costs, where Triton is."""
    try:
        from bench.gpu import sampling
    except ImportError:
        report.left_out.append("the filters' kernels: Triton is not installed")
        return
    found = []
    for label, rows in product(sampling.ASKED, sampling.ROWS):
        if budget.spent:
            report.left_out.append(f"filters, {label}, {rows} rows: out of time")
            continue
        found.append(sampling.measure_filtering(label, rows, sampling.VOCAB, device))
    console.print(sampling.table(found))
    report.filtering += map(asdict, found)


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
