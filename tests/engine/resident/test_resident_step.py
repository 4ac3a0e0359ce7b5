"""The parts of the step on hand-made tensors: shapes, acceptance, the group that came true."""

from __future__ import annotations

import random

import pytest
import torch

from engine.cache.storage import KVStorage
from engine.resident.attention import GatherAttention
from engine.resident.sampling import Draw, ResidentSampler
from engine.resident.shapes import resident_shape
from engine.resident.state import ResidentState
from engine.resident.step import ResidentStep
from engine.resident.verify import accepted_lengths, chosen_rows
from engine.sampling.noise import GumbelNoise
from engine.strategies.base import DraftChoice
from engine.window import WindowShape
from models.decoder import Decoder
from tests.engine.tiny import MASK, VOCAB, tiny_config


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_acceptance_counts_the_drafts_that_agree_one_after_another(k: int) -> None:
    rng = random.Random(k)
    candidates = [[rng.randrange(3) if i == 0 or rng.random() < 0.8 else -1 for i in range(k)] for _ in range(50)]
    sampled = [[rng.randrange(2) for _ in range(k)] for _ in range(50)]
    expected = []
    for drafts, tokens in zip(candidates, sampled, strict=True):
        accepted = 1
        while accepted < k and drafts[accepted] == tokens[accepted - 1]:
            accepted += 1
        expected.append(accepted)
    assert accepted_lengths(torch.tensor(candidates), torch.tensor(sampled)).tolist() == expected
    assert k == 1 or len(set(expected)) > 1


def test_the_chosen_rows_are_the_masks_behind_the_first_of_the_group_for_that_outcome() -> None:
    shape = WindowShape(4, (1, 2, 4), 4)
    rows, exist = chosen_rows(shape, torch.tensor([1, 2, 3, 4]))
    assert exist.tolist() == [True, True, False, True]
    for row, accepted in ((0, 1), (1, 2), (3, 4)):
        group = shape.group_rows(accepted)
        assert group is not None
        assert rows[row].tolist() == list(group[1:])
    assert set(rows.flatten().tolist()) <= set(range(shape.rows))


@pytest.mark.parametrize(
    ("choice", "batch", "cold", "shape"),
    [
        (DraftChoice(1), 8, False, WindowShape(1)),
        (DraftChoice(4, (4, 3, 2, 1)), 4, True, WindowShape(4, (1, 2, 3, 4), 4)),
        (DraftChoice(4, (4, 3, 2, 1)), 8, True, WindowShape(4, (1, 2, 4), 4)),
        (DraftChoice(8, (8, 7, 6)), 1, False, WindowShape(8, (1, 2, 8), 8)),
        (DraftChoice(8, (5,)), 1, False, WindowShape(8, (1, 8), 8)),
        (DraftChoice(8, (8, 1, 2, 3, 4)), 1, False, WindowShape(8, (1, 2, 8), 8)),
        (DraftChoice(8), 1, False, WindowShape(8)),
        (DraftChoice(8), 1, True, WindowShape(1, (1,), 8)),
        (DraftChoice(8, (1, 2, 3, 4, 5, 6, 7, 8)), 4, False, WindowShape(8, (1, 2, 8), 8)),
        (DraftChoice(8, (1, 2, 3, 4, 5, 6, 7, 8)), 8, True, WindowShape(1, (1,), 8)),
        (DraftChoice(8, (1, 2)), 16, True, None),
        (DraftChoice(1), 200, False, None),
    ],
)
def test_a_batch_has_one_shape_within_its_budget(
    choice: DraftChoice, batch: int, cold: bool, shape: WindowShape | None
) -> None:
    assert resident_shape(choice, batch, 128, cold) == shape
    assert shape is None or shape.rows * batch <= 128


@pytest.mark.parametrize("draw", list(Draw))
@pytest.mark.parametrize(
    "shape", [WindowShape(1), WindowShape(4, (1, 2, 4), 4), WindowShape(4), WindowShape(1, (1,), 4)]
)
def test_no_part_of_the_step_looks_at_a_value_on_the_host(shape: WindowShape, draw: Draw) -> None:
    """Tensors without content have nothing to look at: reading one raises."""
    nowhere = torch.device("meta")
    config = tiny_config()
    with nowhere:
        model = Decoder(config)
    storage = KVStorage(config, 10, 4, 16, torch.float32, nowhere)
    step = ResidentStep(model, GatherAttention(storage), ResidentSampler(GumbelNoise(VOCAB, nowhere)), MASK)
    packed = step(ResidentState.empty(3, 9, 4, storage.scratch_page, nowhere), shape, 20, draw)
    assert packed.shape == (3, 3 + shape.clean + 3)
    with pytest.raises(RuntimeError):
        packed.tolist()
