"""Step times of AR and TiDAR over batch sizes and contexts, from graphs and without, against the roofline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.gpu.figures import StepTime
from bench.gpu.report import Report
from bench.gpu.rig import Rig
from bench.gpu.roofline import Ceilings, step_work
from bench.gpu.timing import Budget, seconds_of
from engine.resident.graphs import GraphedStep
from engine.resident.plan import GRAPH_ROWS, GraphKey
from engine.resident.sampling import Draw
from engine.resident.step import ResidentStep
from engine.window import WindowShape

#: more rows than a step will ever be given
MOST_ROWS = 4352


@dataclass(frozen=True)
class Case:
    """One kind of step; `label` says what its windows are."""

    label: str
    shape: WindowShape
    batch: int
    context: int


def cases(lengths: list[int], batches: list[int], contexts: list[int]) -> Iterator[Case]:
    """The most telling ones first: small batches, and AR before what is compared with it."""
    for batch in batches:
        for label, shape in _windows(lengths):
            for context in contexts:
                yield Case(label, shape, batch, context)


def _windows(lengths: list[int]) -> Iterator[tuple[str, WindowShape]]:
    yield "AR", WindowShape(1)
    for k in lengths:
        yield f"k={k} full", WindowShape(k, tuple(range(1, k + 1)), k)
        yield f"k={k} 3 groups", WindowShape(k, (1, 2, k), k)
        yield f"k={k} none, verify", WindowShape(k)
        yield f"k={k} none, draft", WindowShape(1, (1,), k)


def measure_steps(name: str, rig: Rig, wanted: Iterator[Case], report: Report, budget: Budget) -> None:
    """Times of all cases that fit go into the report, and so does what is left out, and why."""
    step = rig.step()
    graphs = _Graphs(rig, step)
    autoregressive: dict[tuple[int, int], float] = {}
    for case in wanted:
        reason = _hindrance(rig, case, budget)
        if reason is not None:
            report.left_out.append(f"{name}, {case.label}, batch {case.batch}, context {case.context}: {reason}")
            continue
        plain = autoregressive.get((case.batch, case.context))
        time = _measured(name, rig, step, graphs, case, report.ceilings, plain)
        if case.shape == WindowShape(1):
            autoregressive[case.batch, case.context] = time.seconds
        report.steps.append(time)


def _hindrance(rig: Rig, case: Case, budget: Budget) -> str | None:
    if budget.spent:
        return "out of time"
    if case.batch * case.shape.rows > MOST_ROWS:
        return f"more than {MOST_ROWS} rows"
    return None if rig.fits(case.batch, case.context) else "its KV pages do not fit the memory"


class _Graphs:
    """The graph of the batch and window at hand; cases that differ in context share it."""

    def __init__(self, rig: Rig, step: ResidentStep) -> None:
        self._rig, self._step = rig, step
        self._key: GraphKey | None = None
        self._graphed: GraphedStep | None = None

    def seconds(self, case: Case) -> float | None:
        """Of one replay, or None where the engine would have no graph."""
        if case.batch * case.shape.rows > GRAPH_ROWS:
            return None
        key = GraphKey(case.batch, case.shape, Draw.NOISY)
        if self._key != key:
            self._graphed = self._rig.graphed(self._step, case.batch, [case.shape])
            self._key = key
        graphed = self._graphed
        if graphed is None:
            return None
        self._rig.prepare(case.batch, case.context)
        return seconds_of(lambda: graphed.replay(key), self._rig.device)


def _measured(
    name: str,
    rig: Rig,
    step: ResidentStep,
    graphs: _Graphs,
    case: Case,
    ceilings: Ceilings,
    autoregressive: float | None,
) -> StepTime:
    graph = graphs.seconds(case)
    state = rig.prepare(case.batch, case.context)
    eager = seconds_of(lambda: rig.eager(state, case.shape, case.context, step), rig.device)
    work = step_work(rig.config, case.shape, case.batch, case.context, rig.dtype.itemsize)
    return StepTime(
        model=name,
        label=case.label,
        rows=case.batch * case.shape.rows,
        batch=case.batch,
        context=case.context,
        graph=graph,
        eager=eager,
        floor=work.floor(ceilings),
        versus_ar=None if autoregressive is None else (eager if graph is None else graph) / autoregressive,
    )
