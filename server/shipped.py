"""The model that comes with TiDAR Serve."""

from __future__ import annotations

from pathlib import Path

import models

SHIPPED_MODEL = "tidar-python-5m"


def shipped_model() -> Path:
    """Its folder, resolved."""
    return (Path(models.__file__).parent / "shipped" / SHIPPED_MODEL).resolve()
