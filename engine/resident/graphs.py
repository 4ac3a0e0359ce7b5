"""CUDA graphs of resident steps: per batch size, window shape and way to draw, all from one memory pool."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.resident.plan import GraphKey
from engine.resident.sampling import Draw
from engine.resident.state import ResidentState
from engine.window import WindowShape

if TYPE_CHECKING:
    from torch.cuda import _POOL_HANDLE

    from engine.resident.loop import Step

#: forwards before a capture, in which Triton compiles and libraries make their handles
WARM_UP = 2


@dataclass(frozen=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    packed: Tensor


class GraphedStep:
    """Replays a captured step where there is one, and runs it eagerly where not.

    A result is overwritten by the next replay on its stream.
    """

    def __init__(self, step: Step, state: ResidentState, context: int) -> None:
        """`context` is the longest there can be, in tokens; a graph serves every prefix below it."""
        self._step = step
        self._state = state
        self._context = context
        self._graphs: dict[GraphKey, _Graph] = {}
        #: device memory that capturing took, in bytes
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._graphs)

    def capture(self, wanted: Iterable[GraphKey]) -> None:
        """Capture these steps on padding, the largest first, so that the others fit its memory."""
        device = self._state.device
        before = torch.cuda.mem_get_info(device)[0]
        pool = torch.cuda.graph_pool_handle()
        for key in sorted(wanted, key=lambda key: -key.batch * key.shape.rows):
            self._graphs[key] = self._captured(key, pool)
        torch.cuda.synchronize(device)
        self.num_bytes = max(0, before - torch.cuda.mem_get_info(device)[0])

    def __call__(self, state: ResidentState, shape: WindowShape, context: int, draw: Draw) -> Tensor:
        """As ResidentStep's; `state` is a beginning of the one that this was made for."""
        key = GraphKey.of(state.batch, shape, draw)
        return self.replay(key) if key in self._graphs else self._step(state, shape, context, draw)

    def replay(self, key: GraphKey) -> Tensor:
        """The captured step on the state's first rows."""
        captured = self._graphs[key]
        captured.graph.replay()
        return captured.packed

    def _captured(self, key: GraphKey, pool: _POOL_HANDLE) -> _Graph:
        state = self._state.first(key.batch)
        side = torch.cuda.Stream(state.device)
        side.wait_stream(torch.cuda.current_stream(state.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._step(state, key.shape, self._context, key.draw)
        torch.cuda.current_stream(state.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            packed = self._step(state, key.shape, self._context, key.draw)
        return _Graph(graph, packed)
