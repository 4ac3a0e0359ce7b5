"""The flat batch of one forward: windows of equal shape side by side, their positions and cache slots."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from engine.cache.storage import KVStorage
from engine.window import Window, WindowShape


@dataclass(frozen=True)
class ShapeGroup:
    """Consecutive windows of one shape; tensors are [batch, ...] over them.

    `prefix_lens` int64 [batch]; `block_table` int64 [batch, pages], padded with the null page;
    rows `start` .. `start + batch · shape.rows` of the flat batch are theirs.
    """

    shape: WindowShape
    start: int
    prefix_lens: Tensor
    block_table: Tensor
    max_prefix: int

    @property
    def batch(self) -> int:
        return self.prefix_lens.shape[0]

    @property
    def rows(self) -> int:
        return self.batch * self.shape.rows


@dataclass(frozen=True)
class Batch:
    """Everything the model needs for one forward. token_ids, positions, write_slots: int64 [rows].

    `write_slots` is where each row's K/V go: a page slot for clean rows, a scratch slot for masks.
    """

    windows: list[Window]
    groups: list[ShapeGroup]
    token_ids: Tensor
    positions: Tensor
    write_slots: Tensor


def lay_out(windows: list[Window], token_ids: list[list[int]], storage: KVStorage, max_positions: int) -> Batch:
    """Order windows by shape, give each its rows and compute positions and slots. `token_ids` belongs to `windows`.

    Masks that look past the model's last position stay at it: they draft tokens that can never be committed.
    """
    order = sorted(range(len(windows)), key=lambda i: (windows[i].shape.rows, hash(windows[i].shape)))
    device = storage.slots.device
    groups: list[ShapeGroup] = []
    positions: list[Tensor] = []
    slots: list[Tensor] = []
    start = 0
    for shape, members in groupby(order, key=lambda i: windows[i].shape):
        group = _group(shape, [windows[i] for i in members], start)
        positions.append((group.prefix_lens[:, None] + shape.offsets()).view(-1))
        slots.append(_write_slots(group, storage))
        groups.append(group)
        start += group.rows
    flat = torch.tensor([token for i in order for token in token_ids[i]])
    return Batch(
        windows=[windows[i] for i in order],
        groups=groups,
        token_ids=flat.to(device),
        positions=_join(positions).clamp_(max=max_positions - 1).to(device),
        write_slots=_join(slots).to(device),
    )


def _group(shape: WindowShape, windows: list[Window], start: int) -> ShapeGroup:
    for index, window in enumerate(windows):
        window.start = start + index * shape.rows
    prefixes = [window.sequence.prefix_len for window in windows]
    tables = [window.sequence.pages for window in windows]
    width = max(map(len, tables))
    table = torch.tensor([pages + [0] * (width - len(pages)) for pages in tables])
    return ShapeGroup(shape, start, torch.tensor(prefixes), table, max(prefixes))


def _write_slots(group: ShapeGroup, storage: KVStorage) -> Tensor:
    shape, page_size = group.shape, storage.page_size
    clean = group.prefix_lens[:, None] + torch.arange(shape.clean)
    slots = group.block_table.gather(1, clean // page_size) * page_size + clean % page_size
    if shape.groups:
        masks = shape.rows - shape.clean
        first = storage.scratch_start + group.start + torch.arange(group.batch)[:, None] * shape.rows + shape.clean
        slots = torch.cat([slots, first + torch.arange(masks)], 1)
    return slots.view(-1)


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
