"""Which model a command means."""

from __future__ import annotations

from pathlib import Path

import models

DEFAULT_MODEL = "tidar-python-5m"


def model_path(given: str | None) -> Path:
    """The folder asked for, or the shipped default's."""
    if given is not None:
        return Path(given)
    return Path(models.__file__).parent / "shipped" / DEFAULT_MODEL


def model_names(given: str | None, served: list[str] | None) -> tuple[str, ...]:
    """Names clients may use: those asked for, or else the folder's own name and the argument as it was given."""
    if served:
        return tuple(served)
    name = model_path(given).resolve().name
    return (name,) if given in (None, name) else (name, str(given))
