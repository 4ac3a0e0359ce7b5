"""What drafts would have been worth: for every position of every sequence, how many drafts in a row are right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RECORDED = Path(__file__).parent / "recorded.json"
#: the longest run of right drafts a trace tells of
DEPTH = 32

#: int64 [sequences, positions]: drafts in a row that are right if d_0 stands at this position
Trace = NDArray[np.int64]

#: probability that a draft is right, by sequence and position (arrays that broadcast)
Rate = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


def drawn(sequences: int, positions: int, rate: Rate, seed: int = 0) -> Trace:
    """Independent drafts, each right with the probability of its sequence and position."""
    rng = np.random.default_rng(seed)
    at = rate(np.arange(sequences)[:, None], np.arange(positions)[None, :])
    right = rng.random((sequences, positions, DEPTH)) < np.broadcast_to(at, (sequences, positions))[..., None]
    runs: Trace = right.cumprod(-1).sum(-1)
    return runs


def constant(acceptance: float) -> Rate:
    return lambda sequence, position: np.full(np.broadcast_shapes(sequence.shape, position.shape), acceptance)


def collapsing(high: float, low: float, period: int) -> Rate:
    """All sequences together fall from `high` to `low` and back, every so many positions."""
    return lambda sequence, position: np.where((position + 0 * sequence) // period % 2 == 0, high, low)


def mixed(hot: float, cold: float) -> Rate:
    """Every other request drafts well, the rest badly."""
    return lambda sequence, position: np.where((sequence + 0 * position) % 2 == 0, hot, cold)


def recorded(sequences: int, positions: int) -> Trace:
    """The shipped model's own runs on held-out prompts (see `record`), repeated end to end as often as needed."""
    runs = [np.array(run) for run in json.loads(RECORDED.read_text())["runs"]]
    rows = []
    for sequence in range(sequences):
        order = [runs[(sequence + i) % len(runs)] for i in range(len(runs))]
        joined = np.concatenate(order)
        rows.append(np.resize(joined, positions))
    return np.stack(rows)
