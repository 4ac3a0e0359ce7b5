"""What a step costs on a machine, as seconds by rows and load; tables and rooflines, no clock."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Protocol

from engine.policy.base import Load


class Machine(Protocol):
    """A named step cost."""

    @property
    def name(self) -> str: ...

    def seconds(self, rows: int, load: Load) -> float:
        """Seconds of a step of so many rows, all sequences together."""
        ...


@dataclass(frozen=True)
class Roofline:
    """The larger of the time to read weights and cache and the time to multiply, plus what every step pays.

    Bytes per second and floating-point operations per second are what large copies and products reach, not the data
    sheet's peak.
    """

    name: str
    parameters: float
    kv_bytes_per_token: float
    bytes_per_second: float
    flops: float
    overhead: float

    def seconds(self, rows: int, load: Load) -> float:
        read = (2 * self.parameters + self.kv_bytes_per_token * load.keys) / self.bytes_per_second
        return self.overhead + max(read, 2 * self.parameters * rows / self.flops)


@dataclass(frozen=True)
class Table:
    """Straight lines between measured steps, in proportion beyond them, plus a share for every sequence."""

    name: str
    rows: tuple[int, ...]
    milliseconds: tuple[float, ...]
    per_sequence: float = 0.0

    def seconds(self, rows: int, load: Load) -> float:
        right = min(bisect_left(self.rows, rows), len(self.rows) - 1)
        low, fast = (
            (self.rows[right - 1], self.milliseconds[right - 1]) if right and rows <= self.rows[-1] else (0, 0.0)
        )
        high, slow = self.rows[right], self.milliseconds[right]
        milliseconds = fast + (slow - fast) * (rows - low) / (high - low)
        return milliseconds / 1e3 + self.per_sequence * (load.sequences - 1)


#: Qwen3-8B in bfloat16: 8.2 billion weights, 36 layers of 8 KV heads of 128. An H100 copies about 3.0 TB/s of its 3.35
#: and multiplies large bfloat16 matrices at about 700 of 989 TFLOPS; with these, 272 rows (k = 16, all groups) cost
#: 1.2 AR steps and 72 rows (k = 8) 1.0. A B200 has 8 TB/s and 2,250 TFLOPS, taken at the same shares.
H100_8B = Roofline("Qwen3-8B on an H100", 8.2e9, 147_456, 3.0e12, 700e12, 0.2e-3)
B200_8B = Roofline("Qwen3-8B on a B200", 8.2e9, 147_456, 7.2e12, 1590e12, 0.2e-3)

#: the shipped model on two cores, as the engine's start-up probe measured it, and the 0.3 ms of a step outside that
CPU_5M = Table(
    "tidar-python-5m on two CPU cores",
    rows=(1, 2, 4, 8, 12, 16, 20, 32, 64, 128, 256),
    milliseconds=(0.8, 0.9, 1.0, 1.2, 1.5, 1.8, 2.0, 2.7, 4.7, 9.0, 18.4),
    per_sequence=0.09e-3,
)
