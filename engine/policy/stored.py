"""Step costs kept on disk, so that a restart on the same machine need not measure them again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.policy.cost import StepCost

#: a stored cost of a one-row step holds if a new measurement lies within this factor of it
TRUSTED = 1.5


class StoredCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `StepCost` was measured to be; see there. Seconds and rows."""

    rows: list[int]
    seconds: list[float]
    per_sequence: float
    per_key: float
    per_score: float

    def restored(self) -> StepCost:
        return StepCost(list(self.rows), list(self.seconds), self.per_sequence, self.per_key, self.per_score)

    @property
    def sound(self) -> bool:
        """Whether it could have been measured: rows that grow from 1 on, and positive times."""
        growing = all(a < b for a, b in zip(self.rows, self.rows[1:], strict=False))
        extras = (self.per_sequence, self.per_key, self.per_score)
        return (
            len(self.rows) == len(self.seconds) > 1
            and self.rows[0] == 1
            and growing
            and min(self.seconds) > 0
            and min(extras) >= 0
        )


class CostStore:
    """One file per kind of step: model, device, dtype and whatever else changes what a step costs."""

    def __init__(self, folder: Path, facts: dict[str, object]) -> None:
        """`facts` must tell apart all that differs in cost; they become the file's name, hashed."""
        digest = hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()
        self.path = folder / f"{digest[:32]}.json"

    def load_or_measure(self, one_row: Callable[[], float], measure: Callable[[], StepCost]) -> StepCost:
        """The stored cost if `one_row`, the seconds of a one-row step now, confirms it; else a fresh one, stored."""
        stored = self._read()
        if stored is not None and stored.seconds[0] / TRUSTED <= one_row() <= stored.seconds[0] * TRUSTED:
            return stored.restored()
        cost = measure()
        self._write(StoredCost(cost.rows, cost.seconds, cost.per_sequence, cost.per_key, cost.per_score))
        return cost

    def _read(self) -> StoredCost | None:
        """None where there is no file, or one that cannot be meant."""
        try:
            stored = msgspec.json.decode(self.path.read_bytes(), type=StoredCost)
        except (OSError, msgspec.DecodeError):
            return None
        return stored if stored.sound else None

    def _write(self, stored: StoredCost) -> None:
        """Replace the file whole. Nobody needs it, so a disk that is full or read-only is no error."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path.parent, delete=False) as file:
                file.write(msgspec.json.encode(stored))
            os.replace(file.name, self.path)
