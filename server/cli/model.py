"""Which model a command means."""

from __future__ import annotations

from pathlib import Path

from server.shipped import shipped_model


def model_path(given: str | None) -> Path:
    """The folder asked for, or the shipped default's."""
    if given is not None:
        return Path(given)
    return shipped_model()


def model_names(given: str | None, served: list[str] | None) -> tuple[str, ...]:
    """Names clients may use: those asked for, or else the folder's own name and the argument as it was given."""
    if served:
        return tuple(served)
    name = model_path(given).resolve().name
    return (name,) if given in (None, name) else (name, str(given))
