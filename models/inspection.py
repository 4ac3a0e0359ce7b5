"""What a checkpoint is, read from its config and its weights' headers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from models.checkpoint import plan_tensors
from models.config import ModelConfig
from models.families import FAMILIES
from models.weights import open_weights

#: what a PEFT folder is known by
ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class Inspection:
    """A checkpoint whose weights fit its config. `file_bytes` is what its weights take on disk."""

    path: Path
    config: ModelConfig
    parameters: int
    tensors: int
    file_bytes: int
    adapters: tuple[str, ...]

    @property
    def family(self) -> str:
        return FAMILIES[self.config.architecture].model_type


def inspect_checkpoint(path: Path) -> Inspection:
    """Read config and headers, never a weight. Raises ModelError, one sentence, for what would not load."""
    config = ModelConfig.from_folder(path)
    with open_weights(path, config) as weights:
        plan = plan_tensors(config, weights)
    files = [path] if path.is_file() else path.glob("*.safetensors")
    return Inspection(
        path=path,
        config=config,
        parameters=sum(math.prod(place.shape) for place in plan),
        tensors=len(plan),
        file_bytes=sum(file.stat().st_size for file in files),
        adapters=tuple(sorted(found.parent.name for found in path.glob(f"*/{ADAPTER}"))),
    )
