"""A step replays the graph that was captured for its size, window and way to draw, and runs eagerly without one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.resident.graphs import GraphedStep
from engine.resident.plan import GraphKey
from engine.resident.sampling import Draw
from engine.resident.state import ResidentState
from engine.window import WindowShape

EAGER = torch.tensor([-1])


class Recorded:
    """Stands for a captured step, whose result names it."""

    def __init__(self, name: int) -> None:
        self.graph, self.packed, self.replayed = self, torch.tensor([name]), 0

    def replay(self) -> None:
        self.replayed += 1


@pytest.mark.parametrize(
    ("batch", "shape", "draw", "expected"),
    [
        (4, WindowShape(1), Draw.GREEDY, 0),
        (4, WindowShape(1), Draw.NOISY, 0),
        (4, WindowShape(1), Draw.FILTERED, 1),
        (2, WindowShape(1), Draw.FILTERED, -1),
        (4, WindowShape(2), Draw.NOISY, -1),
    ],
)
def test_which_graph_serves_a_step(
    monkeypatch: pytest.MonkeyPatch, batch: int, shape: WindowShape, draw: Draw, expected: int
) -> None:
    state = ResidentState.empty(4, 1, 2, 1, torch.device("cpu"))

    def eager(state: ResidentState, shape: WindowShape, context: int, draw: Draw) -> Tensor:
        return EAGER

    graphed = GraphedStep(eager, state, 10)
    keys = [GraphKey(4, WindowShape(1), each) for each in (Draw.NOISY, Draw.FILTERED)]
    graphs = {key: Recorded(index) for index, key in enumerate(keys)}
    monkeypatch.setattr(graphed, "_graphs", graphs)
    assert graphed(state.first(batch), shape, 5, draw).tolist() == [expected]
    assert [graph.replayed for graph in graphs.values()] == [int(expected == 0), int(expected == 1)]
