"""Which steps get graphs: few enough to capture at start-up, and every one that the loop can ask for within them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.config import EngineConfig
from engine.errors import EngineError
from engine.resident.plan import (
    GRAPH_ROWS,
    GraphKey,
    graph_keys,
    graph_steps,
    policy_lengths,
    uses_graphs,
    uses_resident,
)
from engine.resident.sampling import Draw
from engine.resident.shapes import BUCKETS, resident_shape
from engine.strategies.base import DraftChoice
from engine.window import WindowShape


def config(**settings: Any) -> EngineConfig:
    return EngineConfig(model="", **settings)


@pytest.mark.parametrize("k", [4, 8, 16])
def test_an_automatic_policy_has_a_few_dozen_graphs(k: int) -> None:
    steps = graph_steps(config(decoding="tidar", draft_length=k))
    assert 20 <= len(steps) <= 40
    assert all(batch * shape.rows <= GRAPH_ROWS for batch, shape in steps)
    assert (64, WindowShape(1)) in steps
    assert (1, WindowShape(k, tuple(range(1, k + 1)), k)) in steps


@pytest.mark.parametrize("k", [2, 4, 8, 16])
def test_whatever_groups_the_policy_chooses_there_is_a_graph(k: int) -> None:
    wanted = config(decoding="tidar", draft_length=k)
    steps = graph_steps(wanted)
    for length in policy_lengths(k, graphs=True):
        for groups in range(1, length + 1):
            for last in (0, 1):
                choice = DraftChoice(length, tuple(range(1 + last, groups + last + 1)))
                for batch in BUCKETS[:7]:
                    shape = resident_shape(choice, batch, wanted.max_num_batched_tokens, cold=False)
                    # one or two groups become two, which only a fixed setting is expected to ask for
                    rare = shape is None or (len(shape.groups) in (0, 2) and length > 2)
                    assert shape is None or rare or batch * shape.rows > GRAPH_ROWS or (batch, shape) in steps


def test_a_fixed_setting_has_one_graph_per_batch_size() -> None:
    assert len(graph_steps(config(decoding="ar", draft_length=1))) == 7
    steps = graph_steps(config(decoding="tidar", draft_length=8, predrafts="3", max_num_seqs=8))
    assert steps == [(batch, WindowShape(8, (1, 2, 8), 8)) for batch in (1, 2, 4, 8)]
    alternating = graph_steps(config(decoding="tidar", draft_length=8, predrafts="none", max_num_seqs=1))
    assert alternating == [(1, WindowShape(8)), (1, WindowShape(1, (1,), 8))]


@pytest.mark.parametrize("settings", [{"decoding": "ar"}, {"decoding": "tidar", "draft_length": 16}])
def test_every_way_to_draw_has_its_graph_of_every_step_and_greedy_rows_share_one(settings: dict[str, Any]) -> None:
    wanted = config(**settings)
    keys, steps = graph_keys(wanted), graph_steps(wanted)
    assert {GraphKey.of(*step, draw) for step in steps for draw in Draw} == set(keys)
    assert len(keys) == 2 * len(steps) <= 80


def test_the_loop_is_on_by_itself_on_a_gpu_and_graphs_can_be_refused() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert not uses_resident(config(), cpu) and uses_resident(config(), gpu)
    assert uses_resident(config(async_scheduling=True), cpu)
    assert uses_graphs(config(), gpu, triton=True)
    assert not uses_graphs(config(enforce_eager=True), gpu, triton=True)
    assert not uses_graphs(config(async_scheduling=False), gpu, triton=True)
    assert not uses_graphs(config(async_scheduling=True), cpu, triton=True)
    assert not uses_graphs(config(), gpu, triton=False)


@pytest.mark.parametrize(
    "settings", [{"synthetic_acceptance": 0.5}, {"synthetic_acceptance": 2.0, "async_scheduling": True}]
)
def test_synthetic_acceptance_is_a_rate_and_the_resident_loops_alone(settings: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="Synthetic acceptance"):
        config(**settings).check()
    config(synthetic_acceptance=0.5, async_scheduling=True).check()
