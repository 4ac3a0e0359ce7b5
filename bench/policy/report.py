"""The sweeps as a table and as a plot."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.policy.priced import PricedRun
from bench.policy.sweep import Point


def print_sweep(title: str, points: list[Point], console: Console) -> None:
    table = Table(title=title, title_justify="left")
    for heading in ("sequences", "AR, tokens/s", "best fixed", "× AR", "auto × AR", "regret"):
        table.add_column(heading, justify="right")
    for point in points:
        name, rate = point.best_fixed
        ar = point.rates["AR"]
        figures = [f"{rate / ar:.2f}", f"{point.speed_up:.2f}", f"{100 * point.regret:.1f} %"]
        table.add_row(str(point.concurrency), f"{ar:.0f}", name, *figures)
    console.print(table)


def print_priced(title: str, runs: list[PricedRun], console: Console) -> None:
    table = Table(title=title, title_justify="left")
    for heading in ("setting", "tokens/s", "× AR", "T/NFE"):
        table.add_column(heading, justify="left" if heading == "setting" else "right")
    for run in runs:
        speed_up = run.rate / runs[0].rate
        table.add_row(run.setting, f"{run.rate:.0f}", f"{speed_up:.3f}", f"{run.tokens_per_forward:.2f}")
    console.print(table)


def plot(sweeps: dict[str, list[Point]], path: Path) -> None:
    """One panel per sweep: tokens/s over AR's against concurrency, fixed settings in grey. Needs matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise ValueError("--plot needs matplotlib; install it with: pip install 'tidar-serve[bench]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(2, len(sweeps))
    rows = -(-len(sweeps) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(5.5 * columns, 3.6 * rows), squeeze=False)
    for axis in axes.flat[len(sweeps) :]:
        axis.set_visible(False)
    for axis, (title, points) in zip(axes.flat, sweeps.items(), strict=False):
        concurrency = [point.concurrency for point in points]
        fixed = [name for name in points[0].rates if name not in ("AR", "auto")]
        for name in fixed:
            axis.plot(concurrency, [p.rates[name] / p.rates["AR"] for p in points], color="0.8", linewidth=0.8)
        axis.axhline(1.0, color="0.3", linewidth=1.0, linestyle="--", label="AR")
        axis.plot(concurrency, [p.speed_up for p in points], color="C3", linewidth=2.0, marker="o", label="auto")
        axis.set_xscale("log", base=2)
        axis.set_ylim(bottom=0)
        axis.set(title=title, xlabel="sequences at once", ylabel="tokens/s over AR's")
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
