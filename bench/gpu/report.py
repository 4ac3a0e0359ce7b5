"""Tables for the terminal and one JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.gpu.figures import Fidelity, PeerTime, Run, Served, StepTime
from bench.gpu.roofline import Ceilings


@dataclass
class Report:
    """Everything that a run found; seconds and bytes throughout. `left_out` says what was not measured and why,
    `failed` which sections broke off.
    """

    facts: dict[str, str]
    ceilings: Ceilings
    kernel: list[dict[str, object]] = field(default_factory=list)
    filtering: list[dict[str, object]] = field(default_factory=list)
    steps: list[StepTime] = field(default_factory=list)
    gaps: list[Run] = field(default_factory=list)
    forced: list[Run] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    peers: list[PeerTime] = field(default_factory=list)
    fidelity: list[Fidelity] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def write(self, path: Path) -> None:
        content = {
            "machine": self.facts,
            "seconds": self.seconds,
            "ceilings": asdict(self.ceilings),
            "kernel": self.kernel,
            "filtering": self.filtering,
            "steps": [step.record() for step in self.steps],
            "host_gaps": [{**asdict(run), "host_gap": run.host_gap} for run in self.gaps],
            "forced_acceptance": [asdict(run) for run in self.forced],
            "http": [asdict(served) for served in self.served],
            "transformers": [asdict(peer) for peer in self.peers],
            "fidelity": [asdict(fidelity) for fidelity in self.fidelity],
            "left_out": self.left_out,
            "failed": self.failed,
        }
        path.write_text(json.dumps(content, indent=1) + "\n")

    def show(self, console: Console) -> None:
        console.print(", ".join(f"{name} {value}" for name, value in self.facts.items()))
        bandwidth, flops = self.ceilings.bandwidth / 1e9, self.ceilings.flops / 1e12
        console.print(f"copies at {bandwidth:.0f} GB/s (read and written), products at {flops:.1f} TFLOP/s")
        gaps = self._runs("Gap between steps", self.gaps)
        for table in (self._steps(), gaps, self._forced(), self._http(), self._peers()):
            if table.row_count:
                console.print(table)
        for found in self.fidelity:
            ours, theirs = f"{found.ours:.1e}", f"{found.transformers:.1e}"
            console.print(f"{found.model}: error of a prompt's logits {ours}, of transformers {theirs}")
        for failure in self.failed:
            console.print(f"[red]{failure}[/red]")
        if self.left_out:
            console.print(f"Not measured: {len(self.left_out)} (in the JSON file, with the reasons).")

    def _steps(self) -> Table:
        columns = ("rows", "graph ms", "eager ms", "floor ms", "of floor", "× AR")
        table = _table("Step times", ("model", "step", "batch", "context", *columns))
        for step in self.steps:
            table.add_row(
                step.model,
                step.label,
                str(step.batch),
                str(step.context),
                str(step.rows),
                _milliseconds(step.graph),
                _milliseconds(step.eager),
                _milliseconds(step.floor),
                f"{step.seconds / step.floor:.2f}",
                _times(step.versus_ar),
            )
        return table

    def _forced(self) -> Table:
        return self._runs("Acceptance forced at random: what steps of this speed would give", self.forced)

    @staticmethod
    def _runs(title: str, runs: list[Run]) -> Table:
        columns = ("accepted", "step ms", "device ms", "host gap", "T/NFE", "tokens/s", "× AR")
        table = _table(title, ("model", "setting", "batch", "context", *columns))
        plain = {(run.model, run.batch, run.context): run.tokens_per_second for run in runs if run.label == "AR"}
        for run in runs:
            autoregressive = plain.get((run.model, run.batch, run.context))
            table.add_row(
                run.model,
                run.label,
                str(run.batch),
                str(run.context),
                "" if run.acceptance is None or run.label == "AR" else f"{run.acceptance:.0%}",
                _milliseconds(run.seconds),
                _milliseconds(run.device_seconds),
                "" if run.host_gap is None else f"{run.host_gap:.1%}",
                f"{run.tokens_per_forward:.2f}",
                f"{run.tokens_per_second:.0f}",
                _times(run.tokens_per_second / autoregressive if autoregressive else None),
            )
        return table

    def _http(self) -> Table:
        columns = ("model", "setting", "requests", "context", "accepted", "tokens/s", "× AR")
        table = _table("Over HTTP, acceptance forced at random", columns)
        plain = {(s.model, s.concurrency): s.tokens_per_second for s in self.served if s.label == "AR"}
        for served in self.served:
            autoregressive = plain.get((served.model, served.concurrency))
            table.add_row(
                served.model,
                served.label,
                str(served.concurrency),
                str(served.context),
                "" if served.label == "AR" else f"{served.acceptance:.0%}",
                f"{served.tokens_per_second:.0f}",
                _times(served.tokens_per_second / autoregressive if autoregressive else None),
            )
        return table

    def _peers(self) -> Table:
        table = _table("transformers, one token per forward", ("model", "batch", "context", "step ms", "× our AR step"))
        ours = {(step.model, step.batch, step.context): step.seconds for step in self.steps if step.label == "AR"}
        for peer in self.peers:
            own = ours.get((peer.model, peer.batch, peer.context))
            ratio = _times(peer.seconds / own if own else None)
            table.add_row(peer.model, str(peer.batch), str(peer.context), _milliseconds(peer.seconds), ratio)
        return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in ("model", "step", "setting") else "right", no_wrap=True)
    return table


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.3f}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"
