"""`tidar train`: the recipe lives in models.training; torch is imported only when it is asked for."""

from __future__ import annotations

import typer


def add_to(app: typer.Typer) -> None:
    """Register the command; its arguments, --help included, are models.training's own."""
    app.command("train", context_settings=PASS_ON, add_help_option=False)(train)


PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def train(context: typer.Context) -> None:
    """Train a TiDAR model, from scratch or from an AR checkpoint; see `tidar train --help`."""
    from models.training.command import main

    raise typer.Exit(main(context.args))
