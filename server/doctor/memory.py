"""What the model needs beside what is free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from server.doctor.base import Finding, Plan, fail, ok, size, warn

if TYPE_CHECKING:
    from models.config import ModelConfig

MEMINFO = Path("/proc/meminfo")
LIMIT_FILE, USED_FILE = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
#: what torch, its libraries and both processes take beside the model
OVERHEAD = 600 * 2**20
#: what of a GPU's memory the engine takes at most, unless --gpu-memory-utilization says otherwise
GPU_SHARE = 0.9


@dataclass(frozen=True)
class Needs:
    """Bytes of the weights, of the widest forward, and of one context's KV cache."""

    weights: int
    forward: int
    context: int


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
    needs = _needs(plan, config, "cuda" if on_gpu else "cpu")
    found = ok(
        "model", f"{folder.name}: {size(needs.weights)} of weights, context {config.max_position_embeddings} tokens"
    )
    if not on_gpu:
        return [found, _room("memory", needs, host_free() - OVERHEAD)]
    free, total = torch.cuda.mem_get_info()
    return [found, _room("gpu memory", needs, free - int((1 - GPU_SHARE) * total))]


def host_free(meminfo: Path = MEMINFO, limit: Path = LIMIT_FILE, used: Path = USED_FILE) -> int:
    """Bytes that new processes may take: what the system says, and what the control group leaves."""
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    free = int(lines["MemAvailable"].split()[0]) * 1024
    try:
        return min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):
        return free


def _needs(plan: Plan, config: ModelConfig, device: str) -> Needs:
    import torch

    from engine.cache.storage import KVStorage
    from engine.config import EngineConfig
    from engine.memory import forward_bytes, kv_cache_budget
    from models.decoder import Decoder

    name = plan.dtype if plan.dtype != "auto" else ("float32" if device == "cpu" else config.dtype)
    dtype = getattr(torch, name, torch.float32)
    with torch.device("meta"):
        weights = sum(parameter.numel() for parameter in Decoder(config).parameters()) * dtype.itemsize
    settings = EngineConfig(model="", max_num_seqs=plan.max_num_seqs, max_model_len=config.max_position_embeddings)
    pages = -(-config.max_position_embeddings // settings.page_size)
    context = pages * KVStorage.bytes_per_page(config, settings.page_size, dtype)
    if device == "cpu":
        context = min(context, kv_cache_budget(settings, config, dtype, torch.device("cpu")))
    return Needs(weights, forward_bytes(settings, config, dtype), context)


def _room(name: str, needs: Needs, free: int) -> Finding:
    """`free` bytes may be taken by the model, its forwards and its cache."""
    least, most = needs.weights + needs.forward, needs.weights + needs.forward + needs.context
    if least > free:
        found = f"weights and a forward need {size(least)}, {size(max(0, free))} is free for them"
        return fail(name, found, "Free some, or choose a smaller model or --dtype.")
    if most > free:
        found = f"a whole context needs {size(most)}, {size(free)} is free for it"
        return warn(name, found, "Free some, or the context is cut to what fits; --max-model-len chooses it.")
    return ok(name, f"{size(most)} needed for one context, {size(free)} free for it")
