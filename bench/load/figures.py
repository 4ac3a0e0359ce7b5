"""Percentiles, trends and the machine, for reports."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """Median, 99th percentile and maximum; None of nothing."""
    if not values:
        return None
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50": round(float(p50), 4), "p99": round(float(p99), 4), "max": round(max(values), 4)}


def trend(points: Sequence[tuple[float, float]]) -> dict[str, float] | None:
    """A straight line through (seconds, MiB): MiB per minute, its change from first to last point, and the mean."""
    if len(points) < 3:
        return None
    seconds, size = np.array(points).T
    slope = float(np.polyfit(seconds, size, 1)[0])
    change = slope * float(seconds[-1] - seconds[0])
    return {"mib_per_minute": round(slope * 60, 3), "change_mib": round(change, 2), "mean_mib": round(size.mean(), 1)}


def machine() -> dict[str, Any]:
    return {"cores": len(os.sched_getaffinity(0)), "date": time.strftime("%Y-%m-%d", time.gmtime())}
