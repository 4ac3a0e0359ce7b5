"""Shapes beside those of drafts and groups: blocks of rows that see each other, and trees of drafts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from engine.window import BoolArray, IntArray, Shape


@dataclass(frozen=True)
class BlockShape(Shape):
    """`leading` causal rows, then blocks of so many rows each; a row sees all rows up to its own block's end.

    Block diffusion, pipelines of blocks and texts that are seen in both directions are of this form; a block of one row
    is causal. The first `clean` rows are kept, none or as many as the scheme likes.
    """

    clean: int
    leading: int
    blocks: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        return self.leading + sum(self.blocks)

    @property
    def causal(self) -> bool:
        return all(size == 1 for size in self.blocks)

    @property
    def full(self) -> bool:
        return self.rows == 1 or (not self.leading and len(self.blocks) == 1)

    def offsets(self) -> IntArray:
        return np.arange(self.rows)

    def mask(self) -> BoolArray:
        return _block_mask(self)

    def limits(self) -> IntArray:
        beyond = np.full(self.rows, self.rows)
        return np.stack([_ends(self), beyond, np.zeros_like(beyond)])


@dataclass(frozen=True)
class TreeShape(Shape):
    """Rows with parents: a row sees its ancestors and itself, and lies as deep as it has ancestors.

    `parents` holds each row's parent, an earlier row, or -1. The first `clean` rows are a chain from the root, which is
    kept: pending tokens and the draft that is believed in most.
    """

    clean: int
    parents: tuple[int, ...]

    @property
    def rows(self) -> int:
        return len(self.parents)

    @property
    def causal(self) -> bool:
        return all(parent == row - 1 for row, parent in enumerate(self.parents))

    def offsets(self) -> IntArray:
        depth: IntArray = _tree_mask(self).sum(1) - 1
        return depth

    def mask(self) -> BoolArray:
        return _tree_mask(self)

    def limits(self) -> IntArray | None:
        """A chain's alone; which rows a branch sees are no two ranges."""
        if not self.causal:
            return None
        return BlockShape(self.clean, self.rows).limits()


def _ends(shape: BlockShape) -> IntArray:
    """One past the last row that each row sees, int64 [rows]."""
    ends = shape.leading + np.cumsum(shape.blocks, dtype=np.int64)
    return np.concatenate([np.arange(1, shape.leading + 1), np.repeat(ends, shape.blocks)])


@lru_cache(maxsize=128)
def _block_mask(shape: BlockShape) -> BoolArray:
    mask: BoolArray = np.arange(shape.rows) < _ends(shape)[:, None]
    return mask


@lru_cache(maxsize=128)
def _tree_mask(shape: TreeShape) -> BoolArray:
    mask = np.eye(shape.rows, dtype=np.bool_)
    for row, parent in enumerate(shape.parents):
        if parent >= 0:
            mask[row] |= mask[parent]
    return mask
