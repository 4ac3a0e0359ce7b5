"""Cores, what may be used of them, and the settings that decide how many threads compute."""

from __future__ import annotations

import os
from pathlib import Path

from server.doctor.base import Finding, Plan, ok, warn

#: cores granted by a control group: "quota period" in microseconds, or "max period"
QUOTA_FILE = Path("/sys/fs/cgroup/cpu.max")
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def check_cpu(plan: Plan) -> list[Finding]:
    """Cores, and threads where a CPU would serve."""
    usable, quota = len(os.sched_getaffinity(0)), cpu_quota()
    found = f"{usable} of {os.cpu_count()} cores may be used"
    threads = plan.threads or usable
    if quota is not None and quota < threads:
        found += f", but only {quota:g} cores' time is granted"
        advice = f"Give --threads {max(1, int(quota))}: threads that wait for time they are not given slow every step."
        return [warn("cores", found, advice)]
    if threads > usable:
        return [warn("cores", f"{found}, and --threads asks for {threads}", f"Give --threads {usable} or less.")]
    asked = {name: os.environ[name] for name in VARIABLES if os.environ.get(name, "").isdigit()}
    if plan.threads is None and any(int(value) > usable for value in asked.values()):
        said = ", ".join(f"{name}={value}" for name, value in asked.items())
        return [warn("cores", f"{found}, and {said}", "Unset them: the engine sets its own threads (--threads).")]
    return [ok("cores", f"{found}; the engine computes with up to {threads} threads on a CPU")]


def cpu_quota(file: Path = QUOTA_FILE) -> float | None:
    """Cores' time granted to this control group, or None where there is no limit."""
    try:
        quota, period = file.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None
