"""The KV cache takes what is left of its share of the memory, and too little memory is explained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.config import EngineConfig
from engine.errors import EngineError
from engine.memory import (
    CPU_BYTES,
    MOST_CPU_BYTES,
    explained,
    forward_bytes,
    kv_cache_budget,
    left_for_pages,
    limiting_flag,
    measures_forward,
    scored_rows,
)
from tests.engine.drive import make_engine
from tests.engine.tiny import save_random, tiny_config

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIB = 2**30


def config(**settings: object) -> EngineConfig:
    return EngineConfig(**{"model": "x", **settings})


def test_pages_take_what_the_share_leaves() -> None:
    assert left_for_pages(0.9, free=77 * GIB, total=80 * GIB, forward=2 * GIB) == (72 - 3 - 2) * GIB
    assert left_for_pages(0.5, free=77 * GIB, total=80 * GIB, forward=2 * GIB) == (40 - 3 - 2) * GIB


def test_too_little_memory_names_the_flags() -> None:
    with pytest.raises(
        EngineError, match=r"of 16\.0 GiB, 15\.0 GiB are taken.*raise --gpu-memory-utilization \(0\.9\)"
    ):
        left_for_pages(0.9, free=GIB, total=16 * GIB, forward=GIB)


def test_a_given_size_goes_before_any_share() -> None:
    assert kv_cache_budget(config(kv_cache_memory=12345), tiny_config(), torch.float32, CUDA) == 12345
    assert kv_cache_budget(config(), tiny_config(), torch.float32, CPU) == CPU_BYTES


@pytest.mark.parametrize(("context", "expected"), [(128, CPU_BYTES), (2**21 - 1, 2**29), (2**24, MOST_CPU_BYTES)])
def test_pages_on_a_cpu_hold_one_context_within_bounds(context: int, expected: int) -> None:
    assert kv_cache_budget(config(max_model_len=context), tiny_config(), torch.float32, CPU) == expected


def test_a_context_that_nobody_asked_for_is_cut_to_what_the_cache_holds(tmp_path: Path) -> None:
    save_random(tmp_path)
    three_pages = 3 * 16 * 512  # in float64
    assert make_engine(tmp_path, kv_cache_memory=three_pages).ready().max_model_len == 48
    with pytest.raises(EngineError, match="cannot hold one context of 49 tokens"):
        make_engine(tmp_path, kv_cache_memory=three_pages, max_model_len=49)


def test_a_wider_forward_needs_more() -> None:
    narrow, wide = (
        forward_bytes(config(max_num_batched_tokens=rows), tiny_config(), torch.bfloat16) for rows in (64, 4096)
    )
    assert 0 < narrow < wide


def test_whole_windows_are_scored_within_the_row_budget() -> None:
    assert scored_rows(config(max_num_batched_tokens=1024, max_num_seqs=4, draft_length=8)) == 64
    assert scored_rows(config(max_num_batched_tokens=32, max_num_seqs=4, draft_length=8)) == 32


def test_a_forward_is_measured_where_pages_take_what_it_leaves() -> None:
    assert measures_forward(config(), CUDA)
    assert not measures_forward(config(), CPU)
    for settings in ({"num_pages": 9}, {"kv_cache_memory": 2**30}, {"tensor_parallel_size": 2}):
        assert not measures_forward(config(**settings), CUDA)


def test_the_flag_that_limits_pages() -> None:
    assert limiting_flag(config(), CUDA) == "--gpu-memory-utilization"
    assert limiting_flag(config(), CPU) == limiting_flag(config(kv_cache_memory=1), CUDA) == "--kv-cache-memory-bytes"
    assert limiting_flag(config(num_pages=1), CUDA) == "--num-pages"


def test_running_out_of_memory_is_one_sentence() -> None:
    with (
        pytest.raises(EngineError, match=r"^The GPU ran out of memory while loading; use less\.$"),
        explained("loading", "use less"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_a_share_outside_its_range_is_refused(learned: Path, share: float) -> None:
    with pytest.raises(EngineError, match="--gpu-memory-utilization must lie in"):
        make_engine(learned, gpu_memory_utilization=share)


def test_a_cache_too_small_for_one_context_names_its_flag(learned: Path) -> None:
    with pytest.raises(EngineError, match="--kv-cache-memory-bytes"):
        make_engine(learned, kv_cache_memory=1)
    with pytest.raises(EngineError, match="--num-pages"):
        make_engine(learned, num_pages=2)
