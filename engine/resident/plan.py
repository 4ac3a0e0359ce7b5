"""What the resident loop is set up for: whether it runs, whether it has graphs, and which steps these are of."""

from __future__ import annotations

from typing import NamedTuple

import torch

from engine.config import EngineConfig
from engine.resident.sampling import Draw
from engine.resident.shapes import BUCKETS, bucket, resident_shape
from engine.strategies.base import DraftChoice
from engine.window import WindowShape

#: beyond so many rows a step is bound by arithmetic, and what its launches cost does not show
GRAPH_ROWS = 288


class GraphKey(NamedTuple):
    """What a captured step was captured for; greedy rows are served by the graph of noisy ones."""

    batch: int
    shape: WindowShape
    draw: Draw

    @classmethod
    def of(cls, batch: int, shape: WindowShape, draw: Draw) -> GraphKey:
        """Of the graph that serves such a step, if there is one."""
        return cls(batch, shape, Draw.NOISY if draw is Draw.GREEDY else draw)


def uses_resident(config: EngineConfig, device: torch.device) -> bool:
    """What --async-scheduling says, or whether this is a GPU; a split model's ranks take every step from the host."""
    if config.tensor_parallel_size > 1:
        return False
    return device.type == "cuda" if config.async_scheduling is None else config.async_scheduling


def uses_graphs(config: EngineConfig, device: torch.device, triton: bool) -> bool:
    """Graphs need a GPU and attention that does not depend on the host's knowledge of the context."""
    return uses_resident(config, device) and device.type == "cuda" and triton and not config.enforce_eager


def policy_lengths(draft_length: int, graphs: bool) -> list[int]:
    """The draft lengths that an automatic policy chooses from: with graphs few, so that each has its own."""
    if graphs:
        return sorted({draft_length, max(draft_length // 2, min(draft_length, 4))})
    return [n for n in (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64) if n < draft_length] + [draft_length]


def graph_keys(config: EngineConfig) -> list[GraphKey]:
    """All graphs of this engine: two of each step, so that one without filters is spared even their empty launches."""
    return [GraphKey(*step, draw) for step in graph_steps(config) for draw in (Draw.NOISY, Draw.FILTERED)]


def graph_steps(config: EngineConfig) -> list[tuple[int, WindowShape]]:
    """Batch sizes and window shapes that steps of this engine may have, within GRAPH_ROWS."""
    steps: dict[tuple[int, WindowShape], None] = {}
    for batch in BUCKETS:
        if batch > bucket(config.max_num_seqs):
            break
        budget = min(config.max_num_batched_tokens, max(GRAPH_ROWS, batch))
        for choice in _choices(config):
            for cold in (False, True):
                shape = resident_shape(choice, batch, config.max_num_batched_tokens, cold)
                if shape is not None and batch * shape.rows <= budget:
                    steps[batch, shape] = None
    return list(steps)


def _choices(config: EngineConfig) -> list[DraftChoice]:
    """Every choice a fixed policy can make, and of an automatic one's those that are worth a graph."""
    k = config.draft_length or 1
    if config.decoding == "ar":
        return [DraftChoice(1)]
    if config.predrafts != "auto":
        count = {"full": k, "none": 0}.get(config.predrafts)
        return [_choice(k, int(config.predrafts) if count is None else count)]
    drafts = [_choice(n, count) for n in policy_lengths(k, graphs=True) for count in (3, n)]
    # few rows for each sequence are what many sequences can afford, and then the longest drafts
    return [DraftChoice(1), _choice(k, 0), *drafts]


def _choice(k: int, groups: int) -> DraftChoice:
    return DraftChoice(k, tuple(range(1, min(groups, k) + 1)))
