"""Windows: the tokens one sequence puts into one forward, and who sees whom among them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engine.sequence import Sequence

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]


#: rows of a window, in the order in which they are used
Rows = range | list[int]


class Shape(ABC):
    """Who sees whom among a window's rows, and at which positions; every row sees the whole prefix besides.

    The leading `clean` rows lie at the positions after the prefix, and their K/V go to pages; that of the others is
    gone after the step. Hashable; its arrays are computed once, shared, and not to be changed.
    """

    clean: int

    @property
    @abstractmethod
    def rows(self) -> int:
        """How many rows the window has."""

    @property
    @abstractmethod
    def causal(self) -> bool:
        """Whether every row sees the rows up to itself and no other."""

    @property
    def full(self) -> bool:
        """Whether every row sees every row."""
        return self.rows == 1

    @property
    def predrafts(self) -> int:
        """Pre-draft groups among the rows."""
        return 0

    @abstractmethod
    def offsets(self) -> IntArray:
        """Position of every row relative to the prefix length, int64 [rows]."""

    @abstractmethod
    def mask(self) -> BoolArray:
        """Who sees whom, bool [rows, rows]."""

    def bias(self) -> FloatArray:
        """`mask` as what is added to attention scores: 0 or -inf, float32 [rows, rows]."""
        return _bias(self)

    @abstractmethod
    def limits(self) -> IntArray | None:
        """`mask` in three numbers per row, int64 [3, rows], or None where it is not of that form.

        Row t sees the rows below limits[0, t] and those from limits[1, t] to limits[2, t] - 1; a second range that is
        empty starts behind every row.
        """


@dataclass(frozen=True)
class WindowShape(Shape):
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

    @property
    def predrafts(self) -> int:
        return len(self.groups)

    def group_rows(self, seen: int) -> range | None:
        """Rows of the group that sees `seen` clean rows, or None if the window carries none."""
        if seen not in self.groups:
            return None
        start = self.clean + self.groups.index(seen) * self.group_length
        return range(start, start + self.group_length)

    def offsets(self) -> IntArray:
        return _offsets(self)

    def mask(self) -> BoolArray:
        return _mask(self)

    def limits(self) -> IntArray:
        return _limits(self)


@lru_cache(maxsize=512)
def _offsets(shape: WindowShape) -> IntArray:
    parts = [np.arange(shape.clean)]
    parts += [np.arange(seen, seen + shape.group_length) for seen in shape.groups]
    return np.concatenate(parts)


@lru_cache(maxsize=128)
def _limits(shape: WindowShape) -> IntArray:
    limits = np.zeros((3, shape.rows), dtype=np.int64)
    limits[0, : shape.clean] = np.arange(1, shape.clean + 1)
    limits[1, : shape.clean] = shape.rows
    for index, seen in enumerate(shape.groups):
        start = shape.clean + index * shape.group_length
        limits[:, start : start + shape.group_length] = np.array([[seen], [start], [start + shape.group_length]])
    return limits


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
def _bias(shape: Shape) -> FloatArray:
    return np.where(shape.mask(), np.float32(0), np.float32("-inf"))


@dataclass(eq=False)
class Window:
    """One sequence's part of a forward: its tokens and the shape they come in.

    `tokens` are those of the clean rows; a scheme that keeps no K/V puts all its final tokens there. `targets` are the
    rows whose logits choose a token, empty for a prompt chunk that does not reach the end. `decodes` tells a decode
    forward from one that works off a prompt; `drafted` counts the drafts among the rows.
    `start` is its first row in the flat batch, set when the batch is laid out.
    """

    sequence: Sequence
    tokens: list[int]
    shape: Shape
    targets: Rows
    decodes: bool
    drafted: int = 0
    start: int = 0
