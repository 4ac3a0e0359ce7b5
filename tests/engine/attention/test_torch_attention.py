"""Window attention equals softmax attention over the keys each row may see, written out one row at a time."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.attention.torch_sdpa import TorchAttention
from engine.window import Shape, WindowShape
from tests.engine.attention.scene import CONFIG, PAGE, SHAPES, TREES, Scene


def check(windows: list[tuple[Shape, int]], seed: int = 0) -> None:
    scene = Scene(windows, seed)
    attention = TorchAttention(scene.storage).prepare(scene.batch)
    for layer in range(CONFIG.num_layers):
        expected = scene.expected(layer)
        torch.testing.assert_close(attention(layer, scene.q, scene.k, scene.v), expected, rtol=0, atol=1e-12)
    assert not scene.storage.slots[:, :PAGE].any(), "the null page was written to"


@pytest.mark.parametrize("prefix", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])
@pytest.mark.parametrize("shape", [*SHAPES, *TREES], ids=str)
def test_one_window_after_any_prefix(shape: Shape, prefix: int) -> None:
    check([(shape, prefix)])


@pytest.mark.parametrize("shape", [*SHAPES, *TREES], ids=str)
def test_a_ragged_batch_of_one_shape(shape: Shape) -> None:
    check([(shape, prefix) for prefix in (0, 1, PAGE - 1, PAGE, PAGE + 1, 9)])


def test_windows_of_every_shape_share_a_forward() -> None:
    check([(shape, prefix) for shape, prefix in zip([*SHAPES, *TREES], cycle((3, 0, 8, 5, 4, 1, 0)))])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([*SHAPES, *TREES]), st.integers(0, 13)), min_size=1, max_size=6),
    st.integers(0, 2**31),
)
def test_any_mix_of_windows(windows: list[tuple[Shape, int]], seed: int) -> None:
    check(windows, seed)


def test_the_kv_of_clean_rows_is_stored_at_their_positions_and_that_of_masks_in_no_page() -> None:
    scene = Scene([(WindowShape(4, (1, 2, 3, 4), 4), 6), (WindowShape(1, (1,), 4), 3)])
    before = scene.storage.slots.clone()
    TorchAttention(scene.storage).prepare(scene.batch)(0, scene.q, scene.k, scene.v)
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
