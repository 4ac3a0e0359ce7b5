"""PEFT LoRA folders: low-rank products to be added to a checkpoint's matrices (arXiv 2106.09685)."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from models.errors import ModelError
from models.folder import read_object
from models.layout import Place
from models.shards import ADAPTER, Shards

CONFIG = "adapter_config.json"
#: PEFT's own names around a checkpoint's, as in base_model.model.<module>.lora_A.weight
FACTOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(\.default)?\.weight")
#: what would change a model in other ways than by low-rank products
OTHER_WAYS = ("use_dora", "fan_in_fan_out", "modules_to_save", "trainable_token_indices", "layer_replication")


@dataclass(frozen=True)
class LowRank:
    """scale · b @ a, to be added to a weight [out, in]; a [rank, in], b [out, rank], both float32."""

    a: Tensor
    b: Tensor
    scale: float

    def rows(self, start: int, count: int) -> Tensor:
        """Rows `start` to `start + count` of the product."""
        return (self.b[start : start + count] @ self.a) * self.scale


def read_lora(folder: Path, plan: Collection[Place]) -> dict[str, LowRank]:
    """The products of a PEFT folder by the name of the checkpoint tensor they are added to.

    `plan` holds the tensors of the model. Raises ModelError, one sentence, where the folder does not fit it.
    """
    config = _read_config(folder)
    places = {place.name.removesuffix(".weight"): place for place in plan if len(place.shape) == 2}
    with Shards(folder, ADAPTER) as shards:
        modules = _modules(shards, places, folder)
        return {f"{module}.weight": _product(shards, config, places[module], names) for module, names in modules}


def _read_config(folder: Path) -> dict[str, Any]:
    config = read_object(folder / CONFIG)
    if config is None:
        raise ModelError(f"{folder} holds no {CONFIG}, so it is no PEFT folder.")
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{folder / CONFIG} has peft_type {config.get('peft_type')!r}, and only 'LORA' is supported.")
    for key in OTHER_WAYS:
        if config.get(key):
            raise ModelError(
                f"{folder / CONFIG} sets {key}, which is not supported: merge it into the model with PEFT."
            )
    if config.get("bias", "none") != "none":
        raise ModelError(f"{folder / CONFIG} trains biases ({config['bias']!r}), which is not supported.")
    return config


def _modules(shards: Shards, places: dict[str, Place], folder: Path) -> list[tuple[str, dict[str, str]]]:
    """Each adapted module with the names of its two factors, A and B."""
    modules: dict[str, dict[str, str]] = {}
    for name in sorted(shards.names()):
        factor = FACTOR.fullmatch(name)
        if factor is None or factor["module"] not in places:
            raise ModelError(f"{folder} adapts {name}, and the model has no such linear layer.")
        modules.setdefault(factor["module"], {})[factor["side"]] = name
    for module, names in modules.items():
        if len(names) != 2:
            raise ModelError(f"{folder} holds only one of the two factors of {module}.")
        if places[module].parameter == "embed.weight":
            raise ModelError(f"{folder} adapts the embedding {module}, which is not supported.")
    if not modules:
        raise ModelError(f"{folder} holds no low-rank factors.")
    return list(modules.items())


def _product(shards: Shards, config: dict[str, Any], place: Place, names: dict[str, str]) -> LowRank:
    module = place.name.removesuffix(".weight")
    rank = _setting(config, "rank_pattern", module, "r")
    alpha = _setting(config, "alpha_pattern", module, "lora_alpha")
    outputs, inputs = place.shape
    for side, expected in (("A", (int(rank), inputs)), ("B", (outputs, int(rank)))):
        shape = shards.shape(names[side])
        if shape != expected:
            raise ModelError(
                f"Tensor {names[side]} has shape {list(shape)}, but {CONFIG} and the model make it {list(expected)}."
            )
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    # copies, since the mapped file is closed before they are used
    a, b = (shards.tensor(names[side]).float().clone() for side in ("A", "B"))
    return LowRank(a, b, scale)


def _setting(config: dict[str, Any], patterns: str, module: str, default: str) -> float:
    """A positive number for one module: that of the first pattern that its name ends in, or else the default."""
    value, special = config.get(default), config.get(patterns) or {}
    if not isinstance(special, dict):
        raise ModelError(f"{CONFIG} needs an object for {patterns}.")
    for suffix, number in special.items():
        if module == suffix or module.endswith(f".{suffix}"):
            value = number
            break
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 2**31:
        raise ModelError(f"{CONFIG} needs a positive number for {default} of {module}, but has {value!r}.")
    return value
