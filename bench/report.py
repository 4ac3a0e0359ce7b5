"""Prints measurements as a table and writes them as JSON."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench.measure import Measurement


def print_table(title: str, measurements: list[Measurement], peer: dict[str, float] | None = None) -> None:
    """One row per setting; the speed-up is over AR at the same concurrency."""
    table = Table(title=title, title_justify="left")
    columns = (
        "conc.",
        "setting",
        "tokens/s",
        "min–max",
        "× AR",
        "T/NFE",
        "accepted at 1, 2, …",
        "rows",
        "step ms",
        "× AR step",
        "= AR",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "setting" else "right", no_wrap=True)
    for m in measurements:
        baseline = _baseline(measurements, m)
        rows, seconds = m.step_time()
        table.add_row(
            str(m.concurrency),
            m.name,
            f"{m.rate:.0f}",
            f"{min(m.rates):.0f}–{max(m.rates):.0f}",
            f"{m.rate / baseline.rate:.2f}",
            f"{m.tokens_per_forward:.2f}",
            " ".join(f"{share:.2f}" for share in acceptance(m)) or "–",
            str(rows),
            f"{seconds * 1e3:.2f}",
            f"{seconds / baseline.step_time()[1]:.2f}",
            f"{same_outputs(m, baseline)}/{len(m.outputs)}",
        )
    for name, rate in (peer or {}).items():
        table.add_row("1", name, f"{rate:.0f}", "", f"{rate / measurements[0].rate:.2f}", "1.00", "–", "1", "", "", "")
    Console(width=None if Console().is_terminal else 140).print(table)


def acceptance(m: Measurement) -> list[float]:
    """Share of decode forwards that accepted draft d_1, d_2, …"""
    return [count / max(1, m.forwards) for count in m.accepted_per_position]


def same_outputs(m: Measurement, baseline: Measurement) -> int:
    """Requests whose tokens are AR's; in float32 a near tie may part them, in float64 none may differ."""
    return sum(a == b for a, b in zip(m.outputs, baseline.outputs, strict=True))


def write_json(path: Path, settings: dict[str, Any], measurements: list[Measurement], peer: dict[str, float]) -> None:
    """Everything the table shows and every repetition behind it, with the machine and the versions."""
    document = {
        "machine": machine(),
        "settings": settings,
        "measurements": [_as_dict(m, _baseline(measurements, m)) for m in measurements],
        "peers_tokens_per_second": peer,
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": version("torch"),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _as_dict(m: Measurement, baseline: Measurement) -> dict[str, Any]:
    return {
        "setting": m.name,
        "concurrency": m.concurrency,
        "tokens_per_second": m.rate,
        "tokens_per_second_each": m.rates,
        "speed_up_over_ar": m.rate / baseline.rate,
        "step_time_over_ar": m.step_time()[1] / baseline.step_time()[1],
        "tokens_per_forward": m.tokens_per_forward,
        "accepted_per_position": acceptance(m),
        "cold_steps": m.cold_steps,
        "step_seconds_by_rows": {rows: median(times) for rows, times in sorted(m.steps.items())},
        "requests_equal_to_ar": same_outputs(m, baseline),
        "requests": len(m.outputs),
    }


def _baseline(measurements: list[Measurement], m: Measurement) -> Measurement:
    return next(other for other in measurements if other.concurrency == m.concurrency)
