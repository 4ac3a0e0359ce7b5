"""What a step cannot do without: bytes through memory and multiplications, and the least time they take."""

from __future__ import annotations

from dataclasses import dataclass

from engine.resident.step import WHOLE_HEAD_ROWS
from engine.window import WindowShape
from models.config import ModelConfig


@dataclass(frozen=True)
class Ceilings:
    """What a device was seen to do: bytes per second of a large copy (read and written), FLOP/s of a product."""

    bandwidth: float
    flops: float


@dataclass(frozen=True)
class Work:
    """Of one step: bytes read and written at least, and floating-point operations of its products."""

    bytes: int
    flops: int

    def floor(self, ceilings: Ceilings) -> float:
        """Seconds below which no implementation comes, where reading and computing overlap perfectly."""
        return max(self.bytes / ceilings.bandwidth, self.flops / ceilings.flops)


def step_work(config: ModelConfig, shape: WindowShape, batch: int, context: int, itemsize: int) -> Work:
    """A decode step of `batch` windows behind `context` tokens each, numbers of `itemsize` bytes.

    Weights are read once, the head twice where drafts are scored after acceptance; prefixes are read once, the clean
    rows' K/V written.
    """
    rows = batch * shape.rows
    layer = config.hidden_size * (2 * config.query_size + 2 * config.kv_size + 3 * config.intermediate_size)
    head = config.vocab_size * config.hidden_size
    whole = rows <= WHOLE_HEAD_ROWS
    scored = rows if whole else batch * (shape.clean + max(0, shape.group_length - 1))
    heads = 1 if whole or not shape.groups else 2
    kv = 2 * config.kv_size * config.num_layers * batch * (context + shape.clean)
    attended = 4 * config.query_size * config.num_layers * rows * (context + shape.clean + shape.group_length)
    return Work(
        bytes=itemsize * (config.num_layers * layer + heads * head + kv),
        flops=2 * rows * config.num_layers * layer + 2 * scored * head + attended,
    )
