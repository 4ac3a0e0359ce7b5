"""The model, and the adapters for others, that come with TiDAR Serve."""

from __future__ import annotations

from pathlib import Path

import models
from models.catalogue import CATALOGUE

SHIPPED_MODEL = "tidar-python-5m"


def shipped_model() -> Path:
    """Its folder, resolved."""
    return (Path(models.__file__).parent / "shipped" / SHIPPED_MODEL).resolve()


def shipped_adapter(model: str | None) -> Path | None:
    """The folder of the TiDAR adapter for a model of the catalogue, or None where none is shipped."""
    folder = shipped_model().parent / f"{model}-tidar-adapter"
    return folder if model in CATALOGUE and folder.is_dir() else None
