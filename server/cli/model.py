"""Which model a command means."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console

from models.errors import ModelError
from models.sources import resolve, short_name
from server.shipped import SHIPPED_MODEL, shipped_adapter, shipped_model


def model_path(given: str | None, command: str) -> Path:
    """The folder or GGUF file asked for, or the shipped default's folder; where there is none the command ends."""
    if given is None:
        return shipped_model()
    return _resolved(given, command)


def lora_path(given: str | None, command: str) -> str | None:
    """The PEFT folder asked for; where there is none the command ends."""
    return None if given is None else str(_resolved(given, command))


def adapter_path(model: str | None, given: str | None, plain: bool = False) -> str | None:
    """The adapter's folder: the one asked for, or the one shipped for a model of the catalogue; None for none.

    `plain`: other settings do not go with an adapter, so that none is taken unasked.
    """
    if given is not None:
        return None if given == "none" else given
    shipped = None if plain else shipped_adapter(model)
    return None if shipped is None else str(shipped)


def model_names(given: str | None, served: list[str] | None) -> tuple[str, ...]:
    """Names clients may use: those asked for, or else the model's own name and the argument as it was given."""
    if served:
        return tuple(served)
    if given is None:
        return (SHIPPED_MODEL,)
    return tuple(dict.fromkeys((short_name(given), given)))


def _resolved(given: str, command: str) -> Path:
    try:
        return resolve(given)
    except ModelError as error:
        Console(stderr=True).print(f"[bold red]Cannot {command}:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
