"""Window attention equals softmax attention over the keys each row may see, written out one row at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.attention.torch_sdpa import TorchAttention
from engine.batch import Batch, lay_out
from engine.cache.storage import KVStorage
from engine.messages import Submit
from engine.params import SamplingParams
from engine.sequence import Sequence
from engine.window import Window, WindowShape
from models.config import ModelConfig
from tests.engine.tiny import tiny_config

PAGE = 4
PAGES = 60
CONFIG: ModelConfig = tiny_config()

#: a prompt chunk, an AR token, full TiDAR windows, pruned ones, a cold step, a prompt's end with its first group
SHAPES = [
    WindowShape(5),
    WindowShape(1),
    WindowShape(4, (1, 2, 3, 4), 4),
    WindowShape(8, tuple(range(1, 9)), 8),
    WindowShape(4, (3,), 4),
    WindowShape(1, (1,), 4),
    WindowShape(7, (7,), 2),
]


class Scene:
    """Windows over a paged cache whose every slot is NaN, except the prefixes and the null page's zeros."""

    def __init__(self, windows: list[tuple[WindowShape, int]], seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.storage = KVStorage(CONFIG, PAGES, PAGE, 600, torch.float64, torch.device("cpu"))
        self.storage.slots[:, PAGE:] = float("nan")
        self._free = (torch.randperm(PAGES, generator=self.generator) + 1).tolist()
        self.windows = [self._window(shape, prefix) for shape, prefix in windows]
        self.batch: Batch = lay_out(self.windows, [[0] * w.shape.rows for w in self.windows], self.storage, 128)
        rows = len(self.batch.token_ids)
        self.q = self.normal(rows, CONFIG.num_heads)
        self.k, self.v = self.normal(rows, CONFIG.num_kv_heads), self.normal(rows, CONFIG.num_kv_heads)

    def normal(self, rows: int, heads: int) -> Tensor:
        return torch.randn(rows, heads, CONFIG.head_dim, dtype=torch.float64, generator=self.generator)

    def _window(self, shape: WindowShape, prefix: int) -> Window:
        submit = Submit(request_id="x", prompt_token_ids=[0], params=SamplingParams())
        sequence = Sequence(submit, 0, 128, frozenset())
        sequence.prefix_len = prefix
        sequence.pages = [self._free.pop() for _ in range(-(-(prefix + shape.clean) // PAGE))]
        for layer in range(CONFIG.num_layers):
            for position in range(prefix):
                self.storage.slots[layer, self.slot(sequence, position)] = self.normal(2, CONFIG.num_kv_heads)
        return Window(sequence, [0] * shape.clean, shape, range(0), decodes=True)

    @staticmethod
    def slot(sequence: Sequence, position: int) -> int:
        return sequence.pages[position // PAGE] * PAGE + position % PAGE

    def expected(self, layer: int) -> Tensor:
        """[rows, heads, head_dim], from explicit lists of visible keys."""
        out = torch.empty_like(self.q)
        for window in self.windows:
            for row in range(window.shape.rows):
                keys, values = self._visible(layer, window, row)
                out[window.start + row] = _attend(self.q[window.start + row], keys, values)
        return out

    def _visible(self, layer: int, window: Window, row: int) -> tuple[Tensor, Tensor]:
        sequence = window.sequence
        prefix = [self.storage.slots[layer, self.slot(sequence, p)] for p in range(sequence.prefix_len)]
        seen = [window.start + other for other in range(window.shape.rows) if sees(window.shape, row, other)]
        keys = torch.stack([*(kv[0] for kv in prefix), *(self.k[i] for i in seen)])
        values = torch.stack([*(kv[1] for kv in prefix), *(self.v[i] for i in seen)])
        return keys, values


def sees(shape: WindowShape, row: int, other: int) -> bool:
    """The window mask in words: clean rows are causal, a mask sees its drafts and its own group, and nothing else."""
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


def check(windows: list[tuple[WindowShape, int]], seed: int = 0) -> None:
    scene = Scene(windows, seed)
    attention = TorchAttention(scene.storage).prepare(scene.batch)
    for layer in range(CONFIG.num_layers):
        expected = scene.expected(layer)
        torch.testing.assert_close(attention(layer, scene.q, scene.k, scene.v), expected, rtol=0, atol=1e-12)
    assert not scene.storage.slots[:, :PAGE].any(), "the null page was written to"


@pytest.mark.parametrize("prefix", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_window_after_any_prefix(shape: WindowShape, prefix: int) -> None:
    check([(shape, prefix)])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_ragged_batch_of_one_shape(shape: WindowShape) -> None:
    check([(shape, prefix) for prefix in (0, 1, PAGE - 1, PAGE, PAGE + 1, 9)])


def test_windows_of_every_shape_share_a_forward() -> None:
    check([(shape, prefix) for shape, prefix in zip(SHAPES, (3, 0, 8, 5, 4, 1, 0), strict=True)])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(SHAPES), st.integers(0, 13)), min_size=1, max_size=6),
    st.integers(0, 2**31),
)
def test_any_mix_of_windows(windows: list[tuple[WindowShape, int]], seed: int) -> None:
    check(windows, seed)


def test_the_kv_of_clean_rows_is_stored_at_their_positions_and_that_of_masks_in_no_page() -> None:
    scene = Scene([(WindowShape(4, (1, 2, 3, 4), 4), 6), (WindowShape(1, (1,), 4), 3)])
    before = scene.storage.slots.clone()
    TorchAttention(scene.storage).prepare(scene.batch)(0, scene.q, scene.k, scene.v)
    for window in scene.windows:
        for row in range(window.shape.clean):
            slot = scene.slot(window.sequence, window.sequence.prefix_len + row)
            assert torch.equal(scene.storage.slots[0, slot, 0], scene.k[window.start + row])
            assert torch.equal(scene.storage.slots[0, slot, 1], scene.v[window.start + row])
            before[0, slot] = scene.storage.slots[0, slot]
    pages = slice(0, scene.storage.scratch_start)
    assert torch.equal(before[:, pages].nan_to_num(7.0), scene.storage.slots[:, pages].nan_to_num(7.0))
