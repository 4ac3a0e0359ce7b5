"""The sequences of a residency: which row each has, and the host's side of their pages."""

from __future__ import annotations

import numpy as np
import torch

from engine.resident.sampling import Draw, draw_for
from engine.resident.shapes import bucket
from engine.resident.state import ResidentState
from engine.sequence import Sequence
from engine.window import WindowShape


class ResidentBatch:
    """Rows of the state while the same sequences decode: they may die, none may join.

    A sequence that has finished keeps its row as garbage: prefix 0, all pages the scratch page.
    """

    def __init__(self, state: ResidentState, sequences: list[Sequence], scratch_page: int, vocab_size: int) -> None:
        self.sequences = sequences
        self.size = bucket(len(sequences))
        self.draw: Draw = draw_for([sequence.params for sequence in sequences])
        self.state = state.first(self.size)
        self.state.load(sequences, vocab_size)
        self._alive = [1] * len(sequences)
        self._scratch_page = scratch_page
        width = self.state.table.shape[1] - 1
        self._pages = np.full((self.size, width), scratch_page, dtype=np.int32)
        self._known = [0] * len(sequences)

    def holds(self, sequences: list[Sequence]) -> bool:
        """Whether these are rows of it, and not so few that a smaller batch would do."""
        own = set(map(id, self.sequences))
        return all(id(sequence) in own for sequence in sequences) and bucket(len(sequences)) == self.size

    def refresh(self) -> None:
        """Tell the device which rows still live and which pages they have got."""
        alive = [int(sequence.finish_reason is None) for sequence in self.sequences]
        changed = alive != self._alive
        for row, sequence in enumerate(self.sequences):
            pages = sequence.pages if alive[row] else []
            if len(pages) != self._known[row]:
                self._pages[row, : len(pages)] = pages
                self._pages[row, len(pages) :] = self._scratch_page
                self._known[row] = len(pages)
                changed = True
        if changed:
            self._alive = alive
            self.state.set_alive(alive)
            self.state.set_pages(torch.from_numpy(self._pages.copy()))


def reach(sequence: Sequence, ahead: int, shape: WindowShape) -> int:
    """Tokens whose K/V the sequence may come to keep with this window, `ahead` of which are still in flight."""
    return min(sequence.prefix_len + ahead + shape.clean, sequence.max_len)
