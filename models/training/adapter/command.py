"""`tidar train adapter`: train an adapter on a frozen model's own answers, measure it, export it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Train a TiDAR adapter: drafts for an AR model, whose answers stay what they are.", no_args_is_help=True
)

Model = Annotated[str, typer.Argument(help="The AR model, as `tidar serve` takes it.")]
Answers = Annotated[Path, typer.Argument(help="Its answers, as `tidar answers` writes them; may still be growing.")]
HeldOut = Annotated[Path, typer.Argument(help="Answers to questions that are kept out of training.")]
Output = Annotated[Path, typer.Argument(help="Folder of the run; one that holds a checkpoint.pt is gone on with.")]
Checkpoint = Annotated[Path, typer.Argument(help="checkpoint.pt of a run.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; torch chooses if left out.", min=1)]
Minutes = Annotated[float | None, typer.Option(help="End after so many minutes of training.", min=0)]
Masks = Annotated[int | None, typer.Option(help="End after so many mask rows.", min=1)]
Decay = Annotated[float, typer.Option(help="Last share of the budget, with a falling rate.", min=0, max=1)]


@app.command()
def run(
    model: Model,
    answers: Answers,
    held_out: HeldOut,
    output: Output,
    minutes: Minutes = None,
    masks: Masks = None,
    rank: Annotated[int, typer.Option(help="Rank of LoRA.", min=1)] = 32,
    draft_length: Annotated[int, typer.Option(help="Masks of a block, k.", min=2)] = 4,
    stride: Annotated[int, typer.Option(help="A block every so many tokens of an answer.", min=1)] = 2,
    batch_answers: Annotated[int, typer.Option(help="Answers of a step.", min=1)] = 1,
    lr: Annotated[float, typer.Option(help="Peak learning rate.", min=0)] = 1e-3,
    warmup_steps: Annotated[int, typer.Option(help="Steps of linear warm-up.", min=0)] = 20,
    decay: Decay = 0.5,
    seed: int = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Threads = None,
) -> None:
    """Train until the budget is spent, or go on with a run; log.jsonl takes losses and tokens per forward."""
    import torch

    from models.sources import resolve
    from models.training.adapter.loop import train_adapter
    from models.training.adapter.settings import AdapterTraining
    from models.training.schedule import Budget, Schedule

    if minutes is None and masks is None:
        raise typer.BadParameter("name --minutes or --masks: a run needs an end.")
    if threads is not None:
        torch.set_num_threads(threads)
    config = AdapterTraining(
        model=resolve(model),
        answers=answers,
        held_out=held_out,
        output=output,
        rank=rank,
        draft_length=draft_length,
        stride=stride,
        batch_answers=batch_answers,
        budget=Budget(masks, minutes),
        schedule=Schedule(warmup_steps, decay),
        lr=lr,
        seed=seed,
        device=device,
    )
    typer.echo(train_adapter(config))


@app.command()
def evaluate(
    model: Model,
    adapter: Annotated[Path, typer.Argument(help="Folder of an exported adapter.")],
    held_out: HeldOut,
    draft_lengths: Annotated[str, typer.Option(help="Draft lengths to measure.")] = "2,3,4",
    limit: Annotated[int | None, typer.Option(help="Answers to walk along.", min=1)] = None,
    threads: Threads = None,
) -> None:
    """Tokens per forward along held-out answers, with all pre-draft groups, as JSON."""
    import torch

    from models.sources import resolve
    from models.training.adapter.evaluate import measure_adapter

    if threads is not None:
        torch.set_num_threads(threads)
    try:
        lengths = [int(length) for length in draft_lengths.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{draft_lengths!r} is no list of draft lengths, such as 2,4.") from None
    if min(lengths) < 2:
        raise typer.BadParameter("draft lengths must be 2 or more.")
    json.dump(measure_adapter(resolve(model), adapter, held_out, lengths, limit), sys.stdout, indent=2)
    typer.echo()


@app.command()
def export(
    checkpoint: Checkpoint,
    folder: Annotated[Path, typer.Argument(help="Folder to write, for `tidar serve --adapter`.")],
) -> None:
    """Write a checkpoint as an adapter in float16."""
    from models.training.adapter.loop import export_adapter

    export_adapter(checkpoint, folder)
