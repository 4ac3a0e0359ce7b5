"""How one machine is divided among engines: threads, GPUs and seeds."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from engine.config import EngineConfig
from engine.errors import EngineError

VISIBLE = "CUDA_VISIBLE_DEVICES"
#: what the driver calls its GPUs
GPU_NODE = re.compile(r"nvidia\d+")


@dataclass(frozen=True)
class Replica:
    """One engine of several: its own settings, and what it needs in its environment beside the parent's."""

    config: EngineConfig
    environment: Mapping[str, str] = field(default_factory=dict)


def divide(config: EngineConfig) -> list[Replica]:
    """One Replica for each of `data_parallel_size` engines. Raises EngineError where there are too few GPUs.

    Without --threads the processors are shared out. Each engine sees only its own GPUs, and draws other seeds than its
    neighbours for requests that bring none.
    """
    count = config.data_parallel_size
    if count == 1:
        return [Replica(config)]
    threads = config.threads or max(1, len(os.sched_getaffinity(0)) // count)
    gpus = _gpus(config)
    each = config.tensor_parallel_size
    replicas = []
    for index in range(count):
        mine = gpus[index * each : (index + 1) * each]
        replicas.append(
            Replica(
                msgspec.structs.replace(config, threads=threads, seed=config.seed + index),
                {VISIBLE: ",".join(mine)} if mine else {},
            )
        )
    return replicas


def _gpus(config: EngineConfig) -> list[str]:
    """Names of the GPUs to share out; none where the engines run on the CPU."""
    if config.device not in ("auto", "cuda"):
        return []
    given = os.environ.get(VISIBLE)
    gpus = _present() if given is None else [name.strip() for name in given.split(",") if name.strip()]
    if not gpus and config.device == "auto":
        return []
    needed = config.data_parallel_size * config.tensor_parallel_size
    if len(gpus) < needed:
        raise EngineError(
            f"--data-parallel-size {config.data_parallel_size} with {config.tensor_parallel_size} GPU each needs "
            f"{needed} GPUs, but {len(gpus)} can be seen; lower it, or use --device cpu."
        )
    return gpus


def _present() -> list[str]:
    """GPUs by number, without loading CUDA into this process."""
    nodes = [path.name for path in Path("/dev").glob("nvidia*") if GPU_NODE.fullmatch(path.name)]
    return [str(index) for index in range(len(nodes))]
