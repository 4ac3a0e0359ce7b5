"""A model split over two processes says what one process says, in AR and in TiDAR mode."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.errors import EngineError
from models.errors import ModelError
from tests.engine.drive import Done, acceptance, endings, make_engine, run
from tests.engine.tiny import VOCAB
from tests.engine.workload import workload

pytestmark = pytest.mark.slow


@contextmanager
def split_engine(folder: Path, **settings: Any) -> Iterator[Engine]:
    engine = make_engine(folder, tensor_parallel_size=2, **settings)
    try:
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="module")
def alone(learned: Path) -> dict[str, Done]:
    """What one process says, one token per forward."""
    return run(make_engine(learned, decoding="ar", enable_prefix_caching=False), workload(30))


@pytest.mark.parametrize(
    "settings",
    [
        {"decoding": "ngram", "max_num_batched_tokens": 50},
        {"decoding": "tidar", "draft_length": 4, "predrafts": "full"},
        {"decoding": "tidar", "draft_length": 3, "predrafts": "auto", "page_size": 4, "num_pages": 40},
    ],
)
def test_two_ranks_say_what_one_says(learned: Path, alone: dict[str, Done], settings: dict[str, Any]) -> None:
    with split_engine(learned, **settings) as engine:
        assert endings(run(engine, workload(30))) == endings(alone)
        if settings["decoding"] == "tidar":
            assert acceptance(engine) > 1.1
        if "num_pages" in settings:
            assert engine.stats().preemptions > 0


def test_each_rank_holds_half_of_the_layers_and_of_the_cache(random_llama: Path) -> None:
    """Embedding, norms and an untied head are not split, and the last is on rank 0 alone."""
    single = make_engine(random_llama, decoding="ar", num_pages=20)
    whole, table, norms = single.ready(), 8 * VOCAB * 32, 8 * 5 * 32
    layers = whole.weight_bytes - 2 * table - norms
    with split_engine(random_llama, predrafts="2", num_pages=20) as engine:
        ready, rank = engine.ready(), engine.runner.model
        assert sum(8 * p.numel() for p in rank.parameters()) == layers // 2 + 2 * table + norms
        assert ready.weight_bytes == layers + 3 * table + 2 * norms
        assert ready.kv_cache_bytes == 2 * engine.runner.attention.storage.num_bytes == whole.kv_cache_bytes
        assert endings(run(engine, workload(6))) == endings(run(single, workload(6)))


def test_what_cannot_be_split_is_refused(random_llama: Path) -> None:
    with pytest.raises(ModelError, match="cannot be divided among 3 processes"):
        make_engine(random_llama, tensor_parallel_size=3)
    with pytest.raises(EngineError, match="--async-scheduling does not go with --tensor-parallel-size"):
        make_engine(random_llama, tensor_parallel_size=2, async_scheduling=True)


def test_a_cache_too_small_is_refused_by_all_ranks(random_llama: Path) -> None:
    with pytest.raises(EngineError, match="cannot hold one context"):
        make_engine(random_llama, tensor_parallel_size=2, num_pages=1)


def test_a_follower_that_dies_is_told_at_the_next_look(random_llama: Path) -> None:
    with split_engine(random_llama) as engine:
        followers = engine.runner.followers
        assert followers is not None
        [process] = followers._processes
        engine.check_whole()
        process.kill()
        process.wait()
        with pytest.raises(EngineError, match="ended with exit code -9"):
            wait_for_death(engine)


def wait_for_death(engine: Engine) -> None:
    for _ in range(100):
        engine.check_whole()
        time.sleep(0.05)
    raise AssertionError("nobody noticed")
