"""What the model needs beside what is free."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from server.doctor.base import Finding, Plan, fail, ok, size, warn

if TYPE_CHECKING:
    from models.config import ModelConfig

MEMINFO = Path("/proc/meminfo")
LIMIT_FILE, USED_FILE = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
#: what torch, its libraries and both processes take beside the model
OVERHEAD = 600 * 2**20
#: free memory beyond need below which a warning is due
MARGIN = 0.1


def check_memory(plan: Plan) -> list[Finding]:
    """The model's name for itself, and whether there is room for it where it would run."""
    from models.config import ModelConfig
    from models.errors import ModelError
    from models.sources import resolve
    from server.shipped import shipped_model

    try:
        folder = shipped_model() if plan.model is None else resolve(plan.model)
        config = ModelConfig.from_folder(folder)
    except ModelError as error:
        return [fail("model", str(error).rstrip("."), "Give a model that is there.")]
    import torch

    on_gpu = torch.cuda.is_available() and plan.device != "cpu"
    weights, cache, forward = _needs(plan, config, "cuda" if on_gpu else "cpu")
    found = ok("model", f"{folder.name}: {size(weights)} of weights, context {config.max_position_embeddings} tokens")
    if on_gpu:
        free, _ = torch.cuda.mem_get_info()
        return [found, _room("gpu memory", weights + cache + forward, free, "a smaller --dtype, model or context")]
    return [found, _room("memory", weights + cache + forward + OVERHEAD, host_free(), "a smaller model or context")]


def host_free(meminfo: Path = MEMINFO, limit: Path = LIMIT_FILE, used: Path = USED_FILE) -> int:
    """Bytes that new processes may take: what the system says, and what the control group leaves."""
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    free = int(lines["MemAvailable"].split()[0]) * 1024
    try:
        return min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):
        return free


def _needs(plan: Plan, config: ModelConfig, device: str) -> tuple[int, int, int]:
    """Bytes of weights, of the least KV cache (one context), and of a forward."""
    import torch

    from engine.cache.storage import KVStorage
    from engine.config import EngineConfig
    from engine.memory import forward_bytes
    from models.decoder import Decoder

    name = plan.dtype if plan.dtype != "auto" else ("float32" if device == "cpu" else config.dtype)
    dtype = getattr(torch, name, torch.float32)
    with torch.device("meta"):
        weights = sum(parameter.numel() for parameter in Decoder(config).parameters()) * dtype.itemsize
    settings = EngineConfig(model="", max_num_seqs=plan.max_num_seqs)
    pages = -(-config.max_position_embeddings // settings.page_size)
    cache = pages * KVStorage.bytes_per_page(config, settings.page_size, dtype)
    return weights, cache, forward_bytes(settings, config, dtype)


def _room(name: str, needed: int, free: int, remedy: str) -> Finding:
    found = f"{size(needed)} needed at least, {size(free)} free"
    if needed > free:
        return fail(name, found, f"Free some, or choose {remedy}.")
    if needed > (1 - MARGIN) * free:
        return warn(name, found, f"It is tight: free some, or choose {remedy}.")
    return ok(name, found)
