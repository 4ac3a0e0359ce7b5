"""Folders that have to take files, and how many files may be open."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from pathlib import Path

from server.doctor.base import Finding, Plan, fail, ok, size, warn

#: room for a small model, and for sockets and compiled kernels
MODEL_BYTES, OTHER_BYTES = 2 * 2**30, 64 * 2**20
#: files that are open beside one connection per sequence
BESIDE_CONNECTIONS = 128


def check_caches(plan: Plan) -> list[Finding]:
    """Where models, compiled kernels and sockets go: is there a place, can it be written, is there room?"""
    from huggingface_hub.constants import HF_HUB_CACHE

    from models.catalogue import cache_folder

    kernels = Path(os.environ.get("TRITON_CACHE_DIR") or "~/.triton/cache").expanduser()
    return [
        _folder("pulled models", cache_folder(), MODEL_BYTES, "TIDAR_HOME"),
        _folder("hub models", Path(HF_HUB_CACHE), MODEL_BYTES, "HF_HOME"),
        _folder("compiled kernels", kernels, OTHER_BYTES, "TRITON_CACHE_DIR"),
        _temporary(),
    ]


def check_descriptors(plan: Plan) -> list[Finding]:
    """Every sequence that runs or waits may be a connection, and a connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = plan.max_num_seqs + plan.max_waiting + BESIDE_CONNECTIONS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return [ok("open files", f"{'no limit' if soft == resource.RLIM_INFINITY else soft}")]
    raised = f"Run ulimit -n {needed}" if hard == resource.RLIM_INFINITY or hard >= needed else "Raise the hard limit"
    found = f"{soft} allowed, {needed} needed for every sequence that may run or wait"
    return [warn("open files", found, f"{raised}, or lower --max-waiting.")]


def _folder(name: str, folder: Path, needed: int, variable: str) -> Finding:
    """A folder that need not exist yet. A cache that cannot be written only matters to what is not in it yet."""
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    if not existing.is_dir():
        return warn(name, f"{existing} is no folder", f"Remove it, or set {variable} to a folder.")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        found = f"{existing} cannot be written ({error.strerror})"
        return warn(name, found, f"Set {variable} to a folder that can be written; what is there already still serves.")
    free = shutil.disk_usage(existing).free
    if free < needed:
        return warn(name, f"{folder} has {size(free)} free", f"Free some, or set {variable} to a folder with room.")
    return ok(name, f"{folder}, {size(free)} free")


def _temporary() -> Finding:
    """The engine's sockets and the grammar checker live here, so without it nothing starts."""
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return fail(
            "temporary files", f"no folder takes them ({error.strerror or error})", "Set TMPDIR to one that does."
        )
    return ok("temporary files", folder)
