"""Token files on disk, and the windows of a run in an order that any step can be resumed at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.errors import ModelError


def write_tokens(path: Path, documents: Iterable[list[int]]) -> int:
    """Write every document to one uint16 file, one after the other; returns the number of tokens."""
    total = 0
    with path.open("wb") as out:
        for ids in documents:
            np.asarray(ids, dtype=np.uint16).tofile(out)
            total += len(ids)
    return total


class TokenFile:
    """A memory-mapped uint16 token file, read as windows of length + 1 tokens."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise ModelError(f"{path} is not there: run `tidar train data` first to fetch and tokenise the corpus.")
        self.tokens = np.memmap(path, dtype=np.uint16, mode="r")
        self._drawn_for: tuple[int, int, int, int] | None = None
        self._drawn: tuple[int, np.ndarray] = 0, np.empty(0)

    def batch(self, index: int, size: int, length: int, seed: int) -> Tensor:
        """Batch number `index`: int64 [size, length + 1], the same for the same arguments.

        An epoch visits every window once, in an order drawn from (seed, epoch) and at offsets of its own.
        """
        windows = (len(self.tokens) - 1) // length - 1
        if windows < 1:
            raise ModelError(f"The token file holds {len(self.tokens)} tokens, too few for windows of {length}.")
        rows = [self._window(number, windows, length, seed) for number in range(index * size, (index + 1) * size)]
        return torch.from_numpy(np.stack(rows).astype(np.int64))

    def _window(self, number: int, windows: int, length: int, seed: int) -> np.ndarray:
        epoch, place = divmod(number, windows)
        offset, order = self._epoch(epoch, windows, length, seed)
        start = offset + int(order[place]) * length
        return np.asarray(self.tokens[start : start + length + 1])

    def _epoch(self, epoch: int, windows: int, length: int, seed: int) -> tuple[int, np.ndarray]:
        """Where the windows of an epoch start, and their order; the last answer is kept."""
        key = (epoch, windows, length, seed)
        if key != self._drawn_for:
            rng = np.random.default_rng([seed, epoch])
            self._drawn = int(rng.integers(length)), rng.permutation(windows)
            self._drawn_for = key
        return self._drawn
