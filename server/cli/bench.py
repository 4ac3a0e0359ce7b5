"""`tidar bench`: AR, fixed drafting and automatic drafting side by side, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from server.cli import flags
from server.cli.model import model_path

app = typer.Typer(help="Measure decoding settings side by side in one run.", no_args_is_help=True)

DEFAULT_DRAFT_LENGTH = 4

DraftLength = Annotated[int, typer.Option(help="Tokens drafted per step, k.", min=1)]
NumPrompts = Annotated[int, typer.Option(help="How many prompts.", min=1)]
MaxTokens = Annotated[int, typer.Option(help="Tokens generated per prompt.", min=1)]
RangeRatio = Annotated[
    float,
    typer.Option(help="Let answers' lengths vary by this share of --max-tokens to both sides.", min=0, max=0.95),
]
Temperature = Annotated[float, typer.Option(help="0 is greedy.", min=0)]
TopP = Annotated[float, typer.Option(help="Nucleus sampling.")]
Repetitions = Annotated[int, typer.Option(help="Runs of each setting; the median counts.", min=1)]
Prompts = Annotated[str | None, typer.Option(help="File with prompts; built-in held-out ones if left out.")]
Peer = Annotated[list[str] | None, typer.Option(help="Measure beside it: transformers. May be repeated.")]
Json = Annotated[str | None, typer.Option("--json", help="Write every figure to this file.")]
Forced = Annotated[
    float | None,
    typer.Option(help="Make drafts right with this probability, as a better drafter's would be.", min=0, max=1),
]
Concurrency = Annotated[list[int] | None, typer.Option(help="Requests at once; may be repeated.", min=1)]


@app.command()
def latency(
    model: flags.Model = None,
    draft_length: DraftLength = DEFAULT_DRAFT_LENGTH,
    num_prompts: NumPrompts = 16,
    max_tokens: MaxTokens = 128,
    range_ratio: RangeRatio = 0.0,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    repetitions: Repetitions = 3,
    prompts: Prompts = None,
    dtype: flags.Dtype = "auto",
    device: flags.Device = "auto",
    threads: flags.Threads = None,
    peer: Peer = None,
    forced_acceptance: Forced = None,
    json: Json = None,
) -> None:
    """One request at a time."""
    _run([1], locals())


@app.command()
def throughput(
    model: flags.Model = None,
    concurrency: Concurrency = None,
    draft_length: DraftLength = DEFAULT_DRAFT_LENGTH,
    num_prompts: NumPrompts = 32,
    max_tokens: MaxTokens = 128,
    range_ratio: RangeRatio = 0.0,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    repetitions: Repetitions = 3,
    prompts: Prompts = None,
    dtype: flags.Dtype = "auto",
    device: flags.Device = "auto",
    threads: flags.Threads = None,
    peer: Peer = None,
    forced_acceptance: Forced = None,
    json: Json = None,
) -> None:
    """Several requests at once; concurrency 1, 4 and 16 unless others are given."""
    _run(concurrency or [1, 4, 16], locals())


@app.command()
def compare(
    model: flags.Model = None,
    pairs: Annotated[
        list[str] | None, typer.Option("--with", help="[NAME=]DECODING[@MODEL][,setting=value]...; may be repeated.")
    ] = None,
    num_prompts: NumPrompts = 16,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.0,
    concurrency: Annotated[int, typer.Option(help="Requests at once.", min=1)] = 1,
    repetitions: Repetitions = 3,
    prompts: Prompts = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Score answers too: humaneval or gsm8k=FILE. May be repeated.")
    ] = None,
    task_problems: Annotated[int, typer.Option(help="Problems per task.", min=1)] = 32,
    task_max_tokens: Annotated[int, typer.Option(help="Tokens per answer.", min=1)] = 256,
    dtype: flags.Dtype = "auto",
    device: flags.Device = "auto",
    threads: flags.Threads = None,
    json: Json = None,
    plot: Annotated[str | None, typer.Option(help="Write a plot to this file (needs matplotlib).")] = None,
) -> None:
    """Ways to decode, side by side: speed, forwards, agreement with the first, and task scores.

    Task answers that are programs are run on this machine, in a process with limits.
    """
    from bench.compare.command import run_compare

    with _reported():
        run_compare(
            str(model_path(model, "bench compare")),
            pairs or ["ar", "tidar"],
            task or [],
            {"dtype": dtype, "device": device, "threads": threads},
            json,
            plot,
            num_prompts=num_prompts,
            max_tokens=max_tokens,
            temperature=temperature,
            concurrency=concurrency,
            repetitions=repetitions,
            prompts=prompts,
            task_problems=task_problems,
            task_max_tokens=task_max_tokens,
        )


@contextmanager
def _reported() -> Iterator[None]:
    """An error that is the user's to mend is one sentence and exit status 1."""
    from engine.errors import EngineError, RequestError
    from models.errors import ModelError

    try:
        yield
    except (EngineError, ModelError, RequestError, ValueError) as error:
        Console(stderr=True).print(f"[bold red]Cannot measure:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def _run(concurrency: list[int], given: dict[str, Any]) -> None:
    from bench.run import BenchOptions, run_benchmark

    options = {name: value for name, value in given.items() if name not in ("model", "peer", "concurrency")}
    with _reported():
        run_benchmark(
            BenchOptions(
                model=str(model_path(given["model"], "measure")),
                concurrency=tuple(concurrency),
                peers=tuple(given["peer"] or ()),
                **options,
            )
        )
