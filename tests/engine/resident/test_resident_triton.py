"""The resident step on the Triton kernels: interpreted without a GPU, from CUDA graphs with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.messages import Submit
from tests.engine.drive import acceptance, endings, make_engine, run
from tests.engine.drive import request as ask
from tests.engine.resident.ahead import make_resident, simple_workload, watched

SETTINGS: dict[str, Any] = {"dtype": "float32", "page_size": 4, "max_model_len": 64}


def requests() -> list[Submit]:
    return [
        ask("greedy", [10, 11, 12], max_tokens=8, ignore_eos=True),
        ask("drawn", [7, 8], temperature=0.9, seed=3, max_tokens=8, ignore_eos=True),
        ask("filtered", [30, 31], temperature=1.0, top_k=5, seed=4, max_tokens=6, ignore_eos=True),
    ]


@pytest.mark.parametrize(("k", "predrafts"), [(1, "none"), (4, "full"), (4, "none")])
def test_the_tokens_are_those_of_the_plain_loop_on_torch(learned: Path, k: int, predrafts: str) -> None:
    plain = make_engine(learned, decoding="ar", attention_backend="torch", **SETTINGS)
    expected = endings(run(plain, requests()))
    engine = make_resident(learned, draft_length=k, predrafts=predrafts, attention_backend="triton", **SETTINGS)
    done, watch = watched(engine, requests())
    assert endings(done) == expected
    assert watch.ahead >= 3
    assert k == 1 or acceptance(engine) > 1.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize(("k", "predrafts"), [(1, "none"), (4, "full"), (8, "3"), (8, "none"), (8, "auto")])
def test_graphs_say_what_the_same_steps_say_without_them(learned: Path, k: int, predrafts: str) -> None:
    settings = {**SETTINGS, "device": "cuda", "draft_length": k, "predrafts": predrafts, "max_num_seqs": 8}
    eager = make_resident(learned, enforce_eager=True, **settings)
    graphed = make_resident(learned, **settings)
    assert graphed.ready().graph_bytes > 0 == eager.ready().graph_bytes
    assert endings(run(graphed, simple_workload(21))) == endings(run(eager, simple_workload(21)))
