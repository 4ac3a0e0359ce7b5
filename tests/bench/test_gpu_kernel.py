"""The kernel benchmark's own check passes on the kernel and would notice another."""

from __future__ import annotations

import pytest
import torch

from bench.gpu import kernel
from engine.window import WindowShape

#: a GPU where there is one, else Triton's interpreter (see tests/__init__.py)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
HEADS = kernel.Heads("tiny", 6, 2, 32)
CASES = [
    kernel.Case(HEADS, "AR", WindowShape(1), 3, 40, torch.float32),
    kernel.Case(HEADS, "k=2 full", WindowShape(2, (1, 2), 2), 2, 300, torch.float32),
    kernel.Case(HEADS, "chunk", WindowShape(20), 1, 17, torch.float16),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_the_kernel_passes(case: kernel.Case) -> None:
    assert kernel.Result(case, kernel.error(case, DEVICE), 1.0, 1).correct


def test_a_wrong_kernel_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernel.TritonAttention.prepare

    def wrong(self: kernel.TritonAttention, batch: kernel.Batch) -> object:
        attention = right(self, batch)
        return lambda layer, q, k, v: attention(layer, q, k * 1.01, v)

    monkeypatch.setattr(kernel.TritonAttention, "prepare", wrong)
    assert not kernel.Result(CASES[0], kernel.error(CASES[0], DEVICE), 1.0, 1).correct


def test_the_table_tells_speed_and_errors() -> None:
    said = kernel.table([kernel.Result(CASES[0], float("nan"), 1e-3, 10**9)], bandwidth=2e12)
    assert said.splitlines()[1].split()[-4:] == ["1000.0", "1000", "50%", "WRONG"]


def test_the_standard_cases_are_both_models_at_both_contexts() -> None:
    cases = list(kernel.standard_cases())
    assert {(case.heads.query, case.heads.kv) for case in cases} == {(12, 2), (32, 8)}
    assert {case.context for case in cases} >= {1024, 8192}
    assert len(cases) == len({(case.heads, case.label, case.batch, case.context) for case in cases})
