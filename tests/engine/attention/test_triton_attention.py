"""The Triton kernels give what the torch back end gives, whatever the windows, heads, pages and splits."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.attention.tiles import Tiles
from engine.attention.torch_sdpa import TorchAttention
from engine.attention.triton_window import TritonAttention
from engine.window import Shape, WindowShape
from tests.engine.attention.scene import PAGE, SHAPES, Heads, Scene

#: a GPU where there is one, else Triton's interpreter (see tests/__init__.py)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FLOAT32 = Heads(layers=1, dtype=torch.float32, device=DEVICE)
AROUND_PAGES = (0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE)

#: at most two row tiles of the windows here, and four splits of 32 keys before they grow
SMALL = Tiles(rows=16, keys=16, split=32, max_splits=4, warps=4, stages=2)
AROUND_SPLITS = (0, 31, 32, 33, 128, 129, 200)


def small(packed: int, head_dim: int, dtype: torch.dtype) -> Tiles:
    return SMALL


def check(scene: Scene, attention: TritonAttention, tolerance: float = 1e-5) -> Tensor:
    """Against the torch back end and, in float64, against the definition; returns the kernels' own answer."""
    before = scene.storage.slots.clone()
    out = attention.prepare(scene.batch)(0, scene.q, scene.k, scene.v)
    scene.check_stored(before, layer=0)
    assert torch.equal(
        scene.storage.slots[:, scene.storage.scratch_start :].isnan(),
        before[:, scene.storage.scratch_start :].isnan(),
    ), "a mask was stored"
    torch.testing.assert_close(out.double(), scene.expected(0), rtol=0, atol=tolerance)
    scene.storage.slots[:, : scene.storage.page_size] = 0
    reference = TorchAttention(scene.storage).prepare(scene.batch)(0, scene.q, scene.k, scene.v)
    torch.testing.assert_close(out, reference, rtol=0, atol=tolerance)
    return out


def poisoned(windows: list[tuple[Shape, int]], seed: int = 0, heads: Heads = FLOAT32) -> Scene:
    """A scene whose null page is NaN too: these kernels read no padding."""
    scene = Scene(windows, seed, heads)
    scene.storage.slots[:, : scene.storage.page_size] = float("nan")
    return scene


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_ragged_batch_of_one_shape(shape: Shape) -> None:
    scene = poisoned([(shape, prefix) for prefix in AROUND_PAGES])
    check(scene, TritonAttention(scene.storage))


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[1], SHAPES[4]], ids=str)
def test_prefixes_in_splits(shape: Shape) -> None:
    scene = poisoned([(shape, prefix) for prefix in AROUND_SPLITS])
    check(scene, TritonAttention(scene.storage, small))


def test_windows_of_every_shape_share_a_forward() -> None:
    scene = poisoned([(shape, prefix) for shape, prefix in zip(SHAPES, cycle((3, 0, 8, 5, 4, 1, 40)))])
    check(scene, TritonAttention(scene.storage, small))


def test_a_prompt_chunk_of_many_row_tiles() -> None:
    scene = poisoned([(WindowShape(43), 21), (WindowShape(43), 0), (WindowShape(1, (1,), 4), 7)])
    check(scene, TritonAttention(scene.storage, small))


@pytest.mark.parametrize(
    "heads",
    [
        Heads(query=6, kv=1, dim=64, page=16),
        Heads(query=6, kv=2, dim=80, page=3),
        Heads(query=2, kv=2, dim=96, page=1),
        Heads(query=8, kv=1, dim=128, page=5),
        Heads(query=5, kv=1, dim=256, page=32),
    ],
    ids=lambda heads: f"{heads.query}:{heads.kv}x{heads.dim}-page{heads.page}",
)
def test_any_heads_and_pages(heads: Heads) -> None:
    heads = replace(heads, layers=1, dtype=torch.float32, device=DEVICE)
    scene = poisoned([(SHAPES[2], 37), (SHAPES[2], heads.page), (SHAPES[0], 70)], heads=heads)
    check(scene, TritonAttention(scene.storage, small))


def test_half_precision() -> None:
    """bfloat16 is only compiled: the interpreter multiplies it wrongly."""
    scene = poisoned(
        [(SHAPES[2], 37), (SHAPES[0], 70)], heads=Heads(6, 2, 64, layers=1, dtype=torch.float16, device=DEVICE)
    )
    check(scene, TritonAttention(scene.storage, small), 5e-3)


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(SHAPES), st.integers(0, 140)), min_size=1, max_size=4),
    st.integers(0, 2**31),
)
def test_any_mix_of_windows(windows: list[tuple[Shape, int]], seed: int) -> None:
    scene = poisoned(windows, seed)
    check(scene, TritonAttention(scene.storage, small))


@pytest.mark.parametrize("prefix", [5, 135])
def test_batch_mates_change_no_bit(prefix: int) -> None:
    shape = SHAPES[2]
    alone = poisoned([(shape, prefix)])
    company = poisoned([(shape, prefix), (shape, 140), (SHAPES[1], 75)])
    expected = TritonAttention(alone.storage, small).prepare(alone.batch)(0, alone.q, alone.k, alone.v)
    rows = slice(company.windows[0].start, company.windows[0].start + shape.rows)
    company.q[rows], company.k[rows], company.v[rows] = alone.q, alone.k, alone.v
    ours, theirs = company.windows[0].sequence, alone.windows[0].sequence
    for position in range(prefix):
        slot = alone.storage.slots[:, alone.slot(theirs, position)]
        company.storage.slots[:, company.slot(ours, position)] = slot
    out = TritonAttention(company.storage, small).prepare(company.batch)(0, company.q, company.k, company.v)
    assert torch.equal(out[rows], expected)


def test_every_layer_has_its_own_cache() -> None:
    scene = poisoned([(SHAPES[2], 9)], heads=replace(FLOAT32, layers=2))
    attention = TritonAttention(scene.storage).prepare(scene.batch)
    for layer in range(2):
        out = attention(layer, scene.q, scene.k, scene.v)
        torch.testing.assert_close(out.double(), scene.expected(layer), rtol=0, atol=1e-5)
