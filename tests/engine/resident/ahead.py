"""Engines whose decode steps run one ahead, requests that let them, and a watch on whether they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.engine import Engine
from engine.messages import Submit
from tests.engine.drive import Done, make_engine, request, run
from tests.engine.workload import prompts


def make_resident(folder: Path, **settings: Any) -> Engine:
    return make_engine(folder, **{"async_scheduling": True, **settings})


def simple_workload(count: int) -> list[Submit]:
    """Greedy, and seeded with filters of every kind, so that no request needs the host between steps."""
    settings: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 0.8, "top_p": 0.95},
        {"temperature": 1.0, "top_k": 5},
        {"temperature": 1.2, "min_p": 0.1},
        {"temperature": 2.0, "top_p": 0.5, "top_k": 20, "min_p": 0.01, "ignore_eos": True},
        {"temperature": 1.0, "stop_token_ids": [20, 21, 22, 40]},
        {"temperature": 0.0, "max_tokens": None},
    ]
    return [
        request(f"{i}", prompt, i % 3, **{"seed": i, "max_tokens": 8 + i % 30, **settings[i % len(settings)]})
        for i, prompt in enumerate(prompts(count))
    ]


class Watch:
    """Counts, before every step, how many steps were the resident loop's, and the sequences that ran in them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ahead = 0
        self.batches: set[int] = set()

    def __call__(self, engine: Engine) -> None:
        loop = engine.resident
        assert loop is not None
        if loop.busy:
            self.ahead += 1
            self.batches.add(len(engine.scheduler.running))
        engine.scheduler.pool.check()


def watched(engine: Engine, requests: list[Submit]) -> tuple[dict[str, Done], Watch]:
    watch = Watch(engine)
    return run(engine, requests, watch), watch
