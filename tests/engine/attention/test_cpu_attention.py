"""Window attention on a CPU, torch's and C's, equals softmax over the keys each row may see, written out row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.attention.base import AttentionBackend
from engine.attention.native_window import NativeAttention
from engine.attention.torch_sdpa import TorchAttention
from engine.batch import lay_out
from engine.cache.storage import KVStorage
from engine.window import Shape, Window, WindowShape
from engine.window_shapes import BlockShape
from tests.engine.attention.scene import PAGE, SHAPES, TREES, Heads, Scene

HALF = Heads(dtype=torch.float32, kept=torch.float16)
WIDE = Heads(4, 2, 64, layers=1, dtype=torch.float32)


def native(storage: KVStorage) -> AttentionBackend:
    kernels = NativeAttention.kernels(storage.dtype)
    if kernels is None:
        pytest.skip("there is no C compiler")
    return NativeAttention(storage, kernels)


BACKENDS = pytest.mark.parametrize("backend", [TorchAttention, native])
Backend = Callable[[KVStorage], AttentionBackend]


def check(backend: Backend, windows: list[tuple[Shape, int]], seed: int = 0, heads: Heads | None = None) -> None:
    scene = Scene(windows, seed, heads)
    attention = backend(scene.storage).prepare(scene.batch)
    tolerance = 1e-12 if scene.heads.dtype == torch.float64 else 1e-5
    for layer in range(scene.heads.layers):
        expected = scene.expected(layer)
        found = attention(layer, scene.q, scene.k, scene.v).double()
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    assert not scene.storage.slots[:, : scene.heads.page].any(), "the null page was written to"


@BACKENDS
@pytest.mark.parametrize("prefix", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])
@pytest.mark.parametrize("shape", [*SHAPES, *TREES], ids=str)
def test_one_window_after_any_prefix(backend: Backend, shape: Shape, prefix: int) -> None:
    check(backend, [(shape, prefix)])


@BACKENDS
@pytest.mark.parametrize("shape", [*SHAPES, *TREES], ids=str)
def test_a_ragged_batch_of_one_shape(backend: Backend, shape: Shape) -> None:
    check(backend, [(shape, prefix) for prefix in (0, 1, PAGE - 1, PAGE, PAGE + 1, 9)])


@BACKENDS
@pytest.mark.parametrize("shapes", [SHAPES, [*SHAPES, *TREES]], ids=["chains", "and trees"])
def test_windows_of_every_shape_share_a_forward(backend: Backend, shapes: list[Shape]) -> None:
    check(backend, [(shape, prefix) for shape, prefix in zip(shapes, cycle((3, 0, 8, 5, 4, 1, 0)))])


@BACKENDS
@pytest.mark.parametrize("dim", [8, 20, 64, 100])
def test_k_and_v_may_be_kept_in_half_the_bytes(backend: Backend, dim: int) -> None:
    """Rounded alike in the cache and in the window: what is expected is made of rounded ones."""
    heads = replace(HALF, dim=dim, page=16, layers=1)
    windows = [(shape, prefix) for shape, prefix in zip([*SHAPES, *TREES], cycle((3, 0, 80, 16, 65)))]
    check(backend, windows, heads=heads)
    scene = Scene(windows[:4], heads=heads)
    before = scene.storage.slots.clone()
    backend(scene.storage).prepare(scene.batch)(0, scene.q, scene.k, scene.v)
    scene.check_stored(before, layer=0)


@BACKENDS
@settings(max_examples=40, deadline=None)
@given(
    windows=st.lists(st.tuples(st.sampled_from([*SHAPES, *TREES]), st.integers(0, 13)), min_size=1, max_size=6),
    seed=st.integers(0, 2**31),
)
def test_any_mix_of_windows(backend: Backend, windows: list[tuple[Shape, int]], seed: int) -> None:
    check(backend, windows, seed)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "heads",
    [(2, 2, 64), (4, 2, 64), (9, 3, 80), (6, 1, 96), (12, 2, 128), (3, 3, 20), (16, 2, 256)],
    ids=lambda heads: "-".join(map(str, heads)),
)
def test_the_c_kernel_takes_any_heads_and_more_keys_than_a_block(
    heads: tuple[int, int, int], dtype: torch.dtype, threads: int
) -> None:
    query, kv, dim = heads
    windows: list[tuple[Shape, int]] = [
        (WindowShape(1), 63),
        (WindowShape(1), 64),
        (WindowShape(4, (1, 2, 3, 4), 4), 65),
        (WindowShape(4), 190),
        (WindowShape(150, (150,), 4), 70),
        (WindowShape(65), 0),
        (BlockShape(0, 0, (70,)), 3),
    ]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        check(native, windows, heads=Heads(query, kv, dim, page=7, layers=1, dtype=dtype))
    finally:
        torch.set_num_threads(before)


def test_what_the_c_kernel_says_of_a_window_does_not_depend_on_its_neighbours() -> None:
    """To the last bit, with one thread and with two."""
    shape = WindowShape(4, (2, 4), 4)
    scene = Scene([(shape, 70), *[(WindowShape(n), 9 * n) for n in range(1, 30)]], heads=WIDE)
    alone = Scene([(shape, 70)], heads=WIDE)
    rows = scene.windows[0].start + torch.arange(shape.rows)
    for tensors in (scene, alone):
        tensors.storage.slots.nan_to_num_(0.5)
    found = native(scene.storage).prepare(scene.batch)(0, scene.q, scene.k, scene.v)[rows]
    prefix = [[s.slot(s.windows[0].sequence, place) for place in range(70)] for s in (scene, alone)]
    alone.storage.slots[0, prefix[1]] = scene.storage.slots[0, prefix[0]]
    again = native(alone.storage).prepare(alone.batch)(0, scene.q[rows], scene.k[rows], scene.v[rows])
    assert torch.equal(found, again)


def in_windows(scene_heads: Heads, shapes: list[WindowShape], tokens: list[Tensor]) -> Tensor:
    """A sequence's q, k, v [tokens, heads, head_dim] in windows one after the other; outputs of the clean rows.

    What lies in a window behind its clean rows sees garbage; clean rows that are too many are drafts, rejected by the
    next window, which begins where they began.
    """
    total = len(tokens[0])
    scene = Scene([(WindowShape(total), 0)], heads=scene_heads)
    scene.storage.slots.nan_to_num_(0.5)
    sequence, outputs = scene.windows[0].sequence, []
    garbage = torch.Generator().manual_seed(5)
    for shape in cycle(shapes):
        sequence.prefix_len = sum(map(len, outputs))
        if sequence.prefix_len == total:
            return torch.cat(outputs)
        accepted = min((shape.clean + 1) // 2, total - sequence.prefix_len)
        shape = shape if shape.clean <= total - sequence.prefix_len else WindowShape(accepted)
        window = Window(sequence, [0] * shape.clean, shape, range(0), decodes=True)
        batch = lay_out([window], [[0] * shape.rows], scene.storage, 10**6)
        rows = []
        for all_rows in tokens:
            drawn = torch.randn(shape.rows, *all_rows.shape[1:], dtype=torch.float64, generator=garbage)
            drawn = drawn.to(all_rows.dtype)
            drawn[:accepted] = all_rows[sequence.prefix_len : sequence.prefix_len + accepted]
            rows.append(drawn)
        outputs.append(native(scene.storage).prepare(batch)(0, *rows)[:accepted])
    raise AssertionError("no shapes")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dim", [20, 64, 128])
@pytest.mark.parametrize(
    ("dtype", "kept"),
    [(torch.float32, None), (torch.float32, torch.float16), (torch.float64, None)],
    ids=["float32", "float32, kept in float16", "float64"],
)
def test_a_token_gets_the_same_bits_in_every_window(
    dtype: torch.dtype, kept: torch.dtype | None, dim: int, threads: int
) -> None:
    """Alone as in plain decoding, with drafts beside it, with any masks, and in a prompt's chunks."""
    heads = Heads(4, 2, dim, page=16, layers=1, dtype=dtype, kept=kept)
    generator = torch.Generator().manual_seed(1)
    tokens = [torch.randn(150, n, dim, dtype=torch.float64, generator=generator).to(dtype) for n in (4, 2, 2)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone = in_windows(heads, [WindowShape(1)], tokens)
        for shapes in (
            [WindowShape(4, (1, 2, 3, 4), 4)],
            [WindowShape(5, (2,), 4), WindowShape(1, (1,), 8), WindowShape(9), WindowShape(2, (2,), 4)],
            [WindowShape(133), WindowShape(5, (5,), 4)],
        ):
            assert torch.equal(in_windows(heads, shapes, tokens), alone)
    finally:
        torch.set_num_threads(before)


def test_a_window_of_nan_spoils_no_other() -> None:
    scene = Scene([(WindowShape(4, (1, 2), 4), 9), (WindowShape(4, (1, 2), 4), 9)])
    expected = native(scene.storage).prepare(scene.batch)(0, scene.q, scene.k, scene.v)
    rows = scene.windows[1].start + torch.arange(12)
    scene.q[rows[:4]] = float("nan")
    found = native(scene.storage).prepare(scene.batch)(0, scene.q, scene.k, scene.v)
    assert found[rows[:4]].isnan().all(), "NaN must not be hidden"
    found[rows[:4]] = expected[rows[:4]]
    assert torch.equal(found, expected)


@BACKENDS
def test_the_kv_of_clean_rows_is_stored_at_their_positions_and_that_of_masks_in_no_page(backend: Backend) -> None:
    scene = Scene([(WindowShape(4, (1, 2, 3, 4), 4), 6), (WindowShape(1, (1,), 4), 3)])
    before = scene.storage.slots.clone()
    backend(scene.storage).prepare(scene.batch)(0, scene.q, scene.k, scene.v)
    scene.check_stored(before, layer=0)


@pytest.mark.parametrize("shape", [*SHAPES, *TREES], ids=str)
def test_limits_say_what_the_mask_says(shape: Shape) -> None:
    """Or nothing, for trees that branch."""
    limits = shape.limits()
    if limits is None:
        assert shape in TREES
        return
    below, first, end = limits[:, :, None]
    other = np.arange(shape.rows)
    assert np.array_equal(shape.mask(), (other < below) | ((first <= other) & (other < end)))
