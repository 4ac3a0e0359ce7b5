"""The flat batch of one forward: windows of equal shape side by side, their positions and cache slots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.cache.pages import NULL_PAGE
from engine.cache.storage import KVStorage
from engine.window import IntArray, Shape, Window


@dataclass(frozen=True)
class ShapeGroup:
    """Consecutive windows of one shape; arrays are [batch, ...] over them.

    `prefix_lens` int64 [batch]; `block_table` int64 [batch, pages], padded with the null page; `write_slots` int64
    [batch, shape.rows]; rows `start` .. `start + batch · shape.rows` of the flat batch are theirs.
    """

    shape: Shape
    start: int
    prefix_lens: IntArray
    block_table: IntArray
    write_slots: IntArray

    @property
    def batch(self) -> int:
        return len(self.prefix_lens)

    @property
    def rows(self) -> int:
        return self.batch * self.shape.rows


@dataclass(frozen=True)
class Batch:
    """Everything the model needs for one forward. token_ids, positions, write_slots: int64 [rows].

    `write_slots` is where each row's K/V go: a page slot for clean rows, a scratch slot for others.
    """

    windows: list[Window]
    groups: list[ShapeGroup]
    token_ids: Tensor
    positions: Tensor
    write_slots: Tensor


def lay_out(windows: list[Window], token_ids: list[list[int]], storage: KVStorage, max_positions: int) -> Batch:
    """Order windows by shape, give each its rows and compute positions and slots. `token_ids` belongs to `windows`.

    Masks that look past the model's last position stay at it: they draft tokens that can never be committed. The
    index arithmetic is numpy's, whose calls cost a third of torch's at these sizes.
    """
    members: dict[Shape, list[int]] = {}
    for index, window in enumerate(windows):
        members.setdefault(window.shape, []).append(index)
    device = storage.slots.device
    order: list[int] = []
    groups: list[ShapeGroup] = []
    positions: list[IntArray] = []
    start = 0
    for shape in sorted(members, key=_rows):
        group, places = _group(shape, [windows[i] for i in members[shape]], start, storage)
        groups.append(group)
        positions.append(places.reshape(-1))
        order += members[shape]
        start += group.rows
    flat = np.array([token for i in order for token in token_ids[i]])
    return Batch(
        windows=[windows[i] for i in order],
        groups=groups,
        token_ids=torch.from_numpy(flat).to(device),
        positions=torch.from_numpy(np.minimum(_join(positions), max_positions - 1)).to(device),
        write_slots=torch.from_numpy(_join([group.write_slots.reshape(-1) for group in groups])).to(device),
    )


def _rows(shape: Shape) -> int:
    return shape.rows


def _group(shape: Shape, windows: list[Window], start: int, storage: KVStorage) -> tuple[ShapeGroup, IntArray]:
    """The windows' group, and their rows' places in their sequences, int64 [batch, rows]."""
    for index, window in enumerate(windows):
        window.start = start + index * shape.rows
    prefixes = np.array([window.sequence.prefix_len for window in windows])
    tables = [window.sequence.pages for window in windows]
    width = max(map(len, tables))
    table = np.array([pages + [NULL_PAGE] * (width - len(pages)) for pages in tables], dtype=np.int64)
    places = prefixes[:, None] + shape.offsets()
    return ShapeGroup(shape, start, prefixes, table, _write_slots(shape, places, table, start, storage)), places


def _write_slots(shape: Shape, places: IntArray, table: IntArray, start: int, storage: KVStorage) -> IntArray:
    batch = len(places)
    pages, within = np.divmod(places[:, : shape.clean], storage.page_size)
    slots: IntArray = table[np.arange(batch)[:, None], pages] * storage.page_size + within
    if shape.rows == shape.clean:
        return slots
    rows = start + np.arange(batch)[:, None] * shape.rows + np.arange(shape.clean, shape.rows)
    return np.concatenate([slots, storage.scratch_start + rows], 1)


def _join(parts: list[IntArray]) -> IntArray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
