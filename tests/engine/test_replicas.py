"""How threads, GPUs and seeds are shared out."""

from __future__ import annotations

import os

import pytest

from engine.config import EngineConfig
from engine.errors import EngineError
from engine.replicas import VISIBLE, divide


def config(**settings: object) -> EngineConfig:
    return EngineConfig(**{"model": "anywhere", **settings})  # type: ignore[arg-type]


def test_one_engine_gets_everything() -> None:
    alone = config(seed=3)
    [replica] = divide(alone)
    assert replica.config == alone
    assert not replica.environment


def test_processors_are_shared_out_and_seeds_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)))
    replicas = divide(config(data_parallel_size=3, device="cpu", seed=5))
    assert [replica.config.threads for replica in replicas] == [2, 2, 2]
    assert [replica.config.seed for replica in replicas] == [5, 6, 7]
    assert not any(replica.environment for replica in replicas)


def test_a_processor_is_left_for_each_of_more_engines_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert [r.config.threads for r in divide(config(data_parallel_size=3, device="cpu"))] == [1, 1, 1]


def test_threads_that_were_asked_for_are_each_engines_own() -> None:
    assert [r.config.threads for r in divide(config(data_parallel_size=2, threads=9, device="cpu"))] == [9, 9]


def test_each_engine_sees_its_own_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "4, 5,GPU-abc,7,1")
    replicas = divide(config(data_parallel_size=2, tensor_parallel_size=2, device="cuda"))
    assert [replica.environment for replica in replicas] == [{VISIBLE: "4,5"}, {VISIBLE: "GPU-abc,7"}]


def test_too_few_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "0,1,2")
    with pytest.raises(EngineError, match="needs 4 GPUs, but 3 can be seen"):
        divide(config(data_parallel_size=2, tensor_parallel_size=2, device="auto"))


def test_no_gpu_is_shared_out_where_none_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "")
    assert not any(replica.environment for replica in divide(config(data_parallel_size=2)))
    with pytest.raises(EngineError, match="needs 2 GPUs, but 0 can be seen"):
        divide(config(data_parallel_size=2, device="cuda"))
