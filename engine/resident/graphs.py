"""CUDA graphs of resident steps: one per batch size and window shape, all from one memory pool."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.resident.sampling import Draw
from engine.resident.state import ResidentState
from engine.resident.step import ResidentStep
from engine.window import WindowShape

if TYPE_CHECKING:
    from torch.cuda import _POOL_HANDLE

#: forwards before a capture, in which Triton compiles and libraries make their handles
WARM_UP = 2


@dataclass(frozen=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    packed: Tensor


class GraphedStep:
    """Replays a captured step where there is one, and runs it eagerly where not.

    Draws with filters are never captured: how torch sorts a vocabulary is not known to be free of host syncs. All
    others come from one kernel, which serves greedy rows too. A result is overwritten by the next replay on its stream.
    """

    def __init__(self, step: ResidentStep, state: ResidentState, context: int) -> None:
        """`context` is the longest there can be, in tokens; a graph serves every prefix below it."""
        self._step = step
        self._state = state
        self._context = context
        self._graphs: dict[tuple[int, WindowShape], _Graph] = {}
        #: device memory that capturing took, in bytes
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._graphs)

    def capture(self, wanted: Iterable[tuple[int, WindowShape]]) -> None:
        """Capture these (batch, shape) steps on padding, the largest first, so that the others fit its memory."""
        device = self._state.device
        before = torch.cuda.mem_get_info(device)[0]
        pool = torch.cuda.graph_pool_handle()
        for batch, shape in sorted(wanted, key=lambda key: -key[0] * key[1].rows):
            self._graphs[batch, shape] = self._captured(self._state.first(batch), shape, pool)
        torch.cuda.synchronize(device)
        self.num_bytes = max(0, before - torch.cuda.mem_get_info(device)[0])

    def __call__(self, state: ResidentState, shape: WindowShape, context: int, draw: Draw) -> Tensor:
        """As ResidentStep's; `state` is a beginning of the one that this was made for."""
        if draw is Draw.FILTERED or (state.batch, shape) not in self._graphs:
            return self._step(state, shape, context, draw)
        return self.replay(state.batch, shape)

    def replay(self, batch: int, shape: WindowShape) -> Tensor:
        """The captured step on the state's first rows."""
        captured = self._graphs[batch, shape]
        captured.graph.replay()
        return captured.packed

    def _captured(self, state: ResidentState, shape: WindowShape, pool: _POOL_HANDLE) -> _Graph:
        side = torch.cuda.Stream(state.device)
        side.wait_stream(torch.cuda.current_stream(state.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._step(state, shape, self._context, Draw.NOISY)
        torch.cuda.current_stream(state.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            packed = self._step(state, shape, self._context, Draw.NOISY)
        return _Graph(graph, packed)
