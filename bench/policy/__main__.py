"""Command line of the policy simulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.policy import record as recording
from bench.policy.machines import B200_8B, CPU_5M, H100_8B, Machine
from bench.policy.priced import priced_runs
from bench.policy.report import plot, print_priced, print_sweep
from bench.policy.sweep import Point, sweep
from bench.policy.traces import RECORDED, Rate, Trace, collapsing, constant, drawn, mixed, recorded
from engine import SamplingParams

LENGTHS = [2, 3, 4, 6, 8, 12, 16]
#: tokens that every simulated request generates
POSITIONS = 256

MACHINES: dict[str, Machine] = {"cpu": CPU_5M, "h100": H100_8B, "b200": B200_8B}

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def run(
    concurrency: Annotated[
        str, typer.Option(help="Sequences at once, separated by commas.")
    ] = "1,2,4,8,16,32,64,128,256",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure to this file.")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Draw tokens/s over AR's into this file.")] = None,
) -> None:
    """Replay acceptance traces against step-cost tables: AR, every fixed (k, S) and auto."""
    counts = [int(count) for count in concurrency.split(",")]
    console = Console(width=100)
    sweeps: dict[str, list[Point]] = {}
    for scenario in SCENARIOS:
        points = [sweep(scenario.machine, scenario.trace(count), count, LENGTHS) for count in counts]
        sweeps[scenario.title] = points
        print_sweep(scenario.title, points, console)
    if json_file:
        report = {title: {p.concurrency: p.rates for p in points} for title, points in sweeps.items()}
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    if plot_file:
        try:
            plot(sweeps, plot_file)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None


@app.command("record")
def record_runs(
    model: Annotated[Path, typer.Argument(help="A model folder that can draft.")],
    output: Annotated[Path, typer.Option(help="The file to write.")] = RECORDED,
    prompts: Annotated[int, typer.Option(min=1)] = 24,
    max_tokens: Annotated[int, typer.Option(min=16)] = 160,
) -> None:
    """Record a model's acceptance on the built-in held-out prompts, for `run` to replay."""
    recording.save(recording.record(model, prompts, max_tokens), model.resolve().name, output)


@app.command("priced")
def priced(
    model: Annotated[Path, typer.Argument(help="A model folder that can draft.")],
    machine: Annotated[str, typer.Option(help="cpu (the shipped model's), h100 or b200 (an 8B model's).")] = "cpu",
    concurrency: Annotated[str, typer.Option(help="Sequences at once, separated by commas.")] = "1,4,16",
    draft_length: Annotated[int, typer.Option(min=2)] = 4,
    prompts: Annotated[int, typer.Option(min=1)] = 48,
    max_tokens: Annotated[int, typer.Option(min=1)] = 128,
    temperature: Annotated[float, typer.Option(min=0)] = 0.0,
    top_p: Annotated[float, typer.Option(min=0, max=1)] = 1.0,
) -> None:
    """Decode for real with every setting, and charge each step what the machine's table says."""
    if machine not in MACHINES:
        raise typer.BadParameter(f"--machine is one of {', '.join(MACHINES)}, not {machine!r}.")
    params = SamplingParams(temperature=temperature, top_p=top_p, max_tokens=max_tokens, ignore_eos=True)
    console = Console(width=100)
    for count in concurrency.split(","):
        runs = priced_runs(model, MACHINES[machine], int(count), draft_length, prompts, params)
        print_priced(f"{MACHINES[machine].name}, {count} at once, temperature {temperature:g}", runs, console)


@dataclass(frozen=True)
class Scenario:
    """A machine and the trace that so many sequences at once decode there."""

    title: str
    machine: Machine
    trace: Callable[[int], Trace]


def _drawn(rate: Rate) -> Callable[[int], Trace]:
    return lambda concurrency: drawn(_requests(concurrency), POSITIONS, rate)


def _recorded(concurrency: int) -> Trace:
    return recorded(_requests(concurrency), POSITIONS)


def _requests(concurrency: int) -> int:
    """Enough requests for the policy to settle and the run to be long against that."""
    return max(24, 4 * concurrency)


SCENARIOS = [
    Scenario("8B on an H100, acceptance 0.8", H100_8B, _drawn(constant(0.8))),
    Scenario("8B on a B200, acceptance 0.8", B200_8B, _drawn(constant(0.8))),
    Scenario("8B on an H100, 0.95 to 0 and back", H100_8B, _drawn(collapsing(0.95, 0.0, 80))),
    Scenario("8B on an H100, hot and cold requests", H100_8B, _drawn(mixed(0.95, 0.1))),
    Scenario("8B on an H100, the shipped model's acceptance", H100_8B, _recorded),
    Scenario("5M on two CPU cores, the shipped model's acceptance", CPU_5M, _recorded),
]

if __name__ == "__main__":
    app()
