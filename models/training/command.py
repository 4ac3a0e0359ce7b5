"""`tidar train`: prepare data, train, measure, export."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from models.errors import ModelError
from models.training.adapter import command as adapter
from models.training.objective import DiffusionTarget, Objective
from models.training.settings import ModelShape

app = typer.Typer(
    help="Train a TiDAR model, from scratch or from an AR checkpoint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(adapter.app, name="adapter")

DEFAULT_DRAFT_LENGTHS = "2:0.2,4:0.5,8:0.3"

DataFolder = Annotated[Path, typer.Argument(help="Folder with train.bin, held_out.bin and the tokenizer.")]
Checkpoint = Annotated[Path, typer.Argument(help="checkpoint.pt of a run.")]
Tokenizer = Annotated[Path | None, typer.Option(help="Take the tokenizer of this folder instead of training one.")]
Output = Annotated[Path, typer.Argument(help="Folder of the run; one that holds a checkpoint.pt is gone on with.")]
Minutes = Annotated[float | None, typer.Option(help="End after so many minutes of training.", min=0)]
Tokens = Annotated[int | None, typer.Option(help="End after so many clean tokens.", min=1)]
InitFrom = Annotated[Path | None, typer.Option(help="Start from a model folder or another run's checkpoint.pt.")]
Target = Annotated[DiffusionTarget, typer.Option(help="What mask rows learn: the data, the AR row, or both.")]
Goal = Annotated[Objective, typer.Option(help="ar: plain pre-training. tidar: the doubled sequence.")]
DraftLengths = Annotated[str, typer.Option(help="Block lengths and the weights they are drawn with.")]
Shape = Annotated[str, typer.Option(help="Sizes other than the shipped model's, as num_layers=12,hidden_size=512.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="Compute dtype: auto, float32 or bfloat16.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; torch chooses if left out.", min=1)]


def main(arguments: list[str]) -> int:
    """Run `tidar train` on its command line; returns the exit status."""
    try:
        app(arguments, prog_name="tidar train")
    except ModelError as error:
        Console(stderr=True).print(f"[bold red]Cannot train:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


@app.command()
def data(
    folder: Annotated[Path, typer.Argument(help="Where downloads, texts and token files go.")],
    vocab_size: Annotated[int, typer.Option(help="Tokens of the tokenizer.", min=260, max=65536)] = 1024,
    tokenizer: Tokenizer = None,
) -> None:
    """Fetch the corpus by package name, train a tokenizer, write token files."""
    from models.training.data import prepare_data

    prepare_data(folder, vocab_size, tokenizer, report=Console(stderr=True).print)


@app.command()
def run(
    data_folder: DataFolder,
    output: Output,
    objective: Goal = "tidar",
    target: Target = "ce",
    init_from: InitFrom = None,
    minutes: Minutes = None,
    tokens: Tokens = None,
    draft_lengths: DraftLengths = DEFAULT_DRAFT_LENGTHS,
    shape: Shape = "",
    alpha: Annotated[float, typer.Option(help="Weight of the AR loss against the diffusion loss.", min=0)] = 1.0,
    batch_tokens: Annotated[int, typer.Option(help="Clean tokens per step.", min=1)] = 4096,
    length: Annotated[int, typer.Option(help="Length of a training sequence.", min=8)] = 256,
    long_share: Annotated[float, typer.Option(help="Last share of the budget, at 1024.", min=0, max=1)] = 0.0,
    lr: Annotated[float, typer.Option(help="Peak learning rate.", min=0)] = 4e-3,
    warmup_steps: Annotated[int, typer.Option(help="Steps of linear warm-up.", min=0)] = 50,
    decay: Annotated[float, typer.Option(help="Last share of the budget, with a falling rate.", min=0, max=1)] = 0.4,
    seed: int = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
) -> None:
    """Train until the budget is spent, or go on with a run; log.jsonl takes losses and acceptance."""
    import torch

    from models.training.loop import train
    from models.training.schedule import Budget, Schedule
    from models.training.settings import TrainConfig

    if minutes is None and tokens is None:
        raise typer.BadParameter("name --minutes or --tokens: a run needs an end.")
    if threads is not None:
        torch.set_num_threads(threads)
    config = TrainConfig(
        data=data_folder,
        output=output,
        objective=objective,
        target=target,
        alpha=alpha,
        draft_lengths=parse_draft_lengths(draft_lengths),
        budget=Budget(tokens, minutes),
        schedule=Schedule(warmup_steps, decay),
        shape=parse_shape(shape),
        init_from=init_from,
        batch_tokens=batch_tokens,
        length=length,
        long_share=long_share,
        lr=lr,
        seed=seed,
        device=device,
        dtype=dtype,
    )
    typer.echo(train(config))


@app.command()
def evaluate(
    data_folder: DataFolder,
    checkpoint: Checkpoint,
    draft_lengths: Annotated[str, typer.Option(help="Draft lengths to measure.")] = "2,4,8",
    windows: Annotated[int, typer.Option(help="Held-out windows of 512 tokens.", min=1)] = 64,
) -> None:
    """Losses, agreement and expected tokens per forward along held-out text, as JSON."""
    from models.training.loop import measure

    lengths = tuple(parse_draft_lengths(draft_lengths))
    json.dump(measure(checkpoint, data_folder, lengths, windows), sys.stdout, indent=2)
    typer.echo()


@app.command()
def export(
    data_folder: DataFolder,
    checkpoint: Checkpoint,
    folder: Annotated[Path, typer.Argument(help="Model folder to write.")],
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32.")] = "float16",
) -> None:
    """Write a checkpoint as a model folder that `tidar serve` and transformers load."""
    import torch

    from models.training.data import copy_tokenizer
    from models.training.loop import export_model

    dtypes = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
    if dtype not in dtypes:
        raise typer.BadParameter(f"--dtype must be one of {', '.join(dtypes)}.")
    copy_tokenizer(data_folder, folder)
    export_model(checkpoint, folder, dtypes[dtype])


def parse_shape(text: str) -> ModelShape:
    """The shipped model's shape with sizes of its own, from "num_layers=12,hidden_size=512"."""
    sizes: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, size = part.partition("=")
        if name not in ModelShape.__dataclass_fields__ or not size.isdecimal() or int(size) < 1:
            known = ", ".join(ModelShape.__dataclass_fields__)
            raise typer.BadParameter(f"{part!r} is no size such as num_layers=12; there are {known}.")
        sizes[name] = int(size)
    return ModelShape(**sizes)


def parse_draft_lengths(text: str) -> dict[int, float]:
    """Block lengths and weights from "2:0.2,4:0.8"; a length without a weight weighs 1."""
    lengths: dict[int, float] = {}
    for part in text.split(","):
        length, _, weight = part.partition(":")
        try:
            lengths[int(length)] = float(weight or 1)
        except ValueError:
            raise typer.BadParameter(f'{part!r} is no block length with a weight, such as "4:0.5".') from None
    if min(lengths) < 2 or min(lengths.values()) < 0 or not any(lengths.values()):
        raise typer.BadParameter("block lengths must be 2 or more, with weights of which one is above 0.")
    return lengths
