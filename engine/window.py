"""Windows: the tokens one sequence puts into one forward, and who sees whom among them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engine.sequence import Sequence

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class WindowShape:
    """`clean` causal rows followed by pre-draft groups of `group_length` mask rows.

    `groups` holds, per group, how many clean rows it sees; its masks continue at that offset and see each other in
    both directions. A prompt chunk, a TiDAR window (with any subset of groups), a cold step and one AR token are all
    of this form. Only the clean rows' K/V are kept.
    """

    clean: int
    groups: tuple[int, ...] = ()
    group_length: int = 0

    @property
    def rows(self) -> int:
        return self.clean + len(self.groups) * self.group_length

    @property
    def causal(self) -> bool:
        return not self.groups

    def group_rows(self, seen: int) -> range | None:
        """Rows of the group that sees `seen` clean rows, or None if the window carries none."""
        if seen not in self.groups:
            return None
        start = self.clean + self.groups.index(seen) * self.group_length
        return range(start, start + self.group_length)

    def offsets(self) -> IntArray:
        """Position of every row relative to the prefix length, int64 [rows]."""
        return _offsets(self)

    def mask(self) -> BoolArray:
        """Who sees whom, bool [rows, rows]; every row sees the whole prefix besides."""
        return _mask(self)

    def bias(self) -> FloatArray:
        """`mask` as what is added to attention scores: 0 or -inf, float32 [rows, rows]."""
        return _bias(self)


@lru_cache(maxsize=512)
def _offsets(shape: WindowShape) -> IntArray:
    parts = [np.arange(shape.clean)]
    parts += [np.arange(seen, seen + shape.group_length) for seen in shape.groups]
    return np.concatenate(parts)


@lru_cache(maxsize=128)
def _mask(shape: WindowShape) -> BoolArray:
    mask = np.zeros((shape.rows, shape.rows), dtype=np.bool_)
    mask[: shape.clean, : shape.clean] = np.tri(shape.clean, dtype=np.bool_)
    for index, seen in enumerate(shape.groups):
        rows = slice(shape.clean + index * shape.group_length, shape.clean + (index + 1) * shape.group_length)
        mask[rows, :seen] = True
        mask[rows, rows] = True
    return mask


@lru_cache(maxsize=128)
def _bias(shape: WindowShape) -> FloatArray:
    return np.where(_mask(shape), np.float32(0), np.float32("-inf"))


@dataclass(eq=False)
class Window:
    """One sequence's part of a forward: its clean tokens and the shape they come in.

    `targets` are the clean rows whose AR logits choose a token, empty for a prompt chunk that does not reach the end.
    `decodes` tells a decode forward from one that works off a prompt; `drafted` counts the drafts among the tokens.
    `start` is its first row in the flat batch, set when the batch is laid out.
    """

    sequence: Sequence
    tokens: list[int]
    shape: WindowShape
    targets: range
    decodes: bool
    drafted: int = 0
    start: int = 0
