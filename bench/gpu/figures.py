"""What is measured: plain records, in seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class StepTime:
    """Median seconds of a step; `graph` None where the engine has no graph for it, `versus_ar` at its batch."""

    model: str
    label: str
    rows: int
    batch: int
    context: int
    graph: float | None
    eager: float
    floor: float
    versus_ar: float | None = None

    @property
    def seconds(self) -> float:
        return self.eager if self.graph is None else self.graph

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "ratio_to_floor": self.seconds / self.floor}


@dataclass(frozen=True)
class Run:
    """`seconds` per step as the loop made them, host and all; `device_seconds` of the same graph back to back."""

    model: str
    label: str
    batch: int
    context: int
    acceptance: float | None
    seconds: float
    tokens_per_second: float
    tokens_per_forward: float
    device_seconds: float | None = None

    @property
    def host_gap(self) -> float | None:
        """Share of a step in which the device waits."""
        return None if self.device_seconds is None else max(0.0, 1 - self.device_seconds / self.seconds)


@dataclass(frozen=True)
class PeerTime:
    """Median seconds of one AR step of transformers with its dynamic cache and SDPA."""

    model: str
    batch: int
    context: int
    seconds: float


@dataclass(frozen=True)
class Served:
    """Tokens per second of so many requests at once over HTTP, prompts of `context` tokens included in the time."""

    model: str
    label: str
    concurrency: int
    context: int
    acceptance: float
    tokens_per_second: float


@dataclass(frozen=True)
class Fidelity:
    """Relative error of a prompt's logits against wider floats; ours should stay within twice that of transformers."""

    model: str
    ours: float
    transformers: float
