"""A paged cache full of NaN but for what may be read, windows over it, and what attention must answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.batch import Batch, lay_out
from engine.cache.storage import KVStorage
from engine.messages import Submit
from engine.params import SamplingParams
from engine.sequence import Sequence
from engine.window import Shape, Window, WindowShape
from engine.window_shapes import BlockShape, TreeShape
from models.config import ModelConfig
from tests.engine.tiny import tiny_config

#: a prompt chunk, an AR token, full TiDAR windows, pruned ones, a cold step, a prompt's end with its first group;
#: denoised blocks after causal rows and after each other, and a text that is seen in both directions
SHAPES: list[Shape] = [
    WindowShape(5),
    WindowShape(1),
    WindowShape(4, (1, 2, 3, 4), 4),
    WindowShape(8, tuple(range(1, 9)), 8),
    WindowShape(4, (3,), 4),
    WindowShape(1, (1,), 4),
    WindowShape(7, (7,), 2),
    BlockShape(3, 3, (4,)),
    BlockShape(4, 0, (4, 4, 2)),
    BlockShape(1, 1, (1, 1, 3)),
    BlockShape(0, 0, (9,)),
]

#: drafts that branch, which only torch attends to
TREES = [TreeShape(2, (-1, 0, 1, 1, 0, 4, 4, 6)), TreeShape(1, (-1, 0, 0)), TreeShape(0, (-1, -1, 0))]

CONFIG: ModelConfig = tiny_config()
PAGE = 4
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Heads:
    """What a scene is made of besides its windows."""

    query: int = CONFIG.num_heads
    kv: int = CONFIG.num_kv_heads
    dim: int = CONFIG.head_dim
    page: int = PAGE
    layers: int = CONFIG.num_layers
    dtype: torch.dtype = torch.float64
    device: torch.device = CPU
    #: what K and V are kept in, where not in `dtype`
    kept: torch.dtype | None = None


class Scene:
    """Windows over a paged cache whose every slot is NaN, except the prefixes and the null page's zeros."""

    def __init__(self, windows: list[tuple[Shape, int]], seed: int = 0, heads: Heads | None = None) -> None:
        self.heads = heads or Heads()
        self.generator = torch.Generator().manual_seed(seed)
        page, pages = self.heads.page, sum(-(-(prefix + shape.clean) // self.heads.page) for shape, prefix in windows)
        rows = sum(shape.rows for shape, _ in windows)
        config = replace(
            CONFIG,
            num_layers=self.heads.layers,
            num_heads=self.heads.query,
            num_kv_heads=self.heads.kv,
            head_dim=self.heads.dim,
        )
        self.storage = KVStorage(config, pages + 3, page, rows, self.heads.dtype, self.heads.device, self.heads.kept)
        self.storage.slots[:, page:] = float("nan")
        self._free = (torch.randperm(pages + 3, generator=self.generator) + 1).tolist()
        self.windows = [self._window(shape, prefix) for shape, prefix in windows]
        self.batch: Batch = lay_out(self.windows, [[0] * w.shape.rows for w in self.windows], self.storage, 10**6)
        # side by side in memory, as one projection gives them
        self.q, self.k, self.v = self.normal(rows, self.heads.query + 2 * self.heads.kv).split(
            [self.heads.query, self.heads.kv, self.heads.kv], 1
        )

    def normal(self, rows: int, heads: int) -> Tensor:
        drawn = torch.randn(rows, heads, self.heads.dim, dtype=torch.float64, generator=self.generator)
        return drawn.to(self.heads.device, self.heads.dtype)

    def _window(self, shape: Shape, prefix: int) -> Window:
        submit = Submit(request_id="x", prompt_token_ids=[0], params=SamplingParams())
        sequence = Sequence(submit, 0, 10**6, frozenset())
        sequence.prefix_len = prefix
        sequence.pages = [self._free.pop() for _ in range(-(-(prefix + shape.clean) // self.heads.page))]
        for layer in range(self.heads.layers):
            slots = [self.slot(sequence, position) for position in range(prefix)]
            content = self.normal(2 * prefix, self.heads.kv)
            self.storage.slots[layer, slots] = content.unflatten(0, (prefix, 2)).to(self.storage.slots.dtype)
        return Window(sequence, [0] * shape.clean, shape, range(0), decodes=True)

    def slot(self, sequence: Sequence, position: int) -> int:
        return sequence.pages[position // self.heads.page] * self.heads.page + position % self.heads.page

    def expected(self, layer: int) -> Tensor:
        """float64 [rows, heads, head_dim], from explicit lists of visible keys."""
        out = torch.empty_like(self.q, dtype=torch.float64)
        for window in self.windows:
            for row in range(window.shape.rows):
                keys, values = self._visible(layer, window, row)
                out[window.start + row] = _attend(self.q[window.start + row].double(), keys, values)
        return out

    def _visible(self, layer: int, window: Window, row: int) -> tuple[Tensor, Tensor]:
        sequence = window.sequence
        slots = [self.slot(sequence, position) for position in range(sequence.prefix_len)]
        seen = [window.start + other for other in range(window.shape.rows) if sees(window.shape, row, other)]
        kept = self.storage.slots.dtype
        keys = torch.cat([self.storage.slots[layer, slots, 0], self.k[seen].to(kept)])
        values = torch.cat([self.storage.slots[layer, slots, 1], self.v[seen].to(kept)])
        return keys.double(), values.double()

    def check_stored(self, before: Tensor, layer: int) -> None:
        """Clean rows' K/V lie at their positions; no page has changed besides. `before`: the slots as they were."""
        expected = before.clone()
        for window in self.windows:
            for row in range(window.shape.clean):
                slot = self.slot(window.sequence, window.sequence.prefix_len + row)
                expected[layer, slot, 0] = self.k[window.start + row].to(expected.dtype)
                expected[layer, slot, 1] = self.v[window.start + row].to(expected.dtype)
        pages = slice(0, self.storage.scratch_start)
        assert torch.equal(expected[:, pages].nan_to_num(7.0), self.storage.slots[:, pages].nan_to_num(7.0))


def sees(shape: Shape, row: int, other: int) -> bool:
    """The window mask in words: clean rows are causal, a mask sees its drafts and its own group, and nothing else.

    In blocks a row sees all rows to its own block's end, in a tree itself and its ancestors.
    """
    if isinstance(shape, BlockShape):
        starts = [*range(shape.leading), *(shape.leading + sum(shape.blocks[:i]) for i in range(len(shape.blocks)))]
        return not any(row < start <= other for start in starts)
    if isinstance(shape, TreeShape):
        while row > other:
            row = shape.parents[row]
        return row == other
    assert isinstance(shape, WindowShape)
    if row < shape.clean:
        return other <= row
    group = (row - shape.clean) // shape.group_length
    if other < shape.clean:
        return other < shape.groups[group]
    return (other - shape.clean) // shape.group_length == group


def _attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """q [heads, head_dim]; keys, values [seen, kv_heads, head_dim]; query heads share a KV head in runs."""
    shared = q.shape[0] // keys.shape[1]
    heads = []
    for head in range(q.shape[0]):
        k, v = keys[:, head // shared], values[:, head // shared]
        weights = (k @ q[head] / q.shape[-1] ** 0.5).exp()
        heads.append(weights @ v / weights.sum())
    return torch.stack(heads)
