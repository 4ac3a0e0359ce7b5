"""The device under measurement, and what it can do at best by its own libraries."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import torch

from bench.gpu.roofline import Ceilings
from bench.gpu.timing import seconds_of


def describe(device: torch.device) -> dict[str, str]:
    """Name, versions and date, for whoever reads the figures later."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {platform.machine()}"
    facts = {"device": name, "date": datetime.now(UTC).strftime("%Y-%m-%d"), "python": platform.python_version()}
    if torch.version.cuda:
        facts["cuda"] = torch.version.cuda
    return facts | {package: _version(package) for package in ("torch", "triton", "transformers")}


def measure_ceilings(device: torch.device, dtype: torch.dtype, tiny: bool) -> Ceilings:
    """A copy far beyond any cache, and a large square product in the models' dtype."""
    size, side = (2**24, 256) if tiny else (2**30, 8192)
    source = torch.empty(size, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    copy = seconds_of(lambda: target.copy_(source), device, 0.5)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = seconds_of(lambda: a @ b, device, 0.5)
    return Ceilings(bandwidth=2 * size / copy, flops=2 * side**3 / product)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
