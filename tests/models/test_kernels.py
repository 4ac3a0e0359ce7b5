"""Each small kernel, Triton's and C's, gives what its torch twin gives, and fused layers what the plain ones give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.checkpoint import load_decoder
from models.fusing import FusedLayer, LayerOperations, fuse_layers
from models.inference import Kernels, prepare_for_inference
from models.kernels.layer_operations import TritonOperations
from models.native.layer_operations import NativeOperations
from models.rope import Rope, rotate
from tests.ahead_of_time import reports
from tests.models.checkpoints import FAMILIES, logits, write_checkpoint

#: a GPU where there is one, else Triton's interpreter (see tests/__init__.py)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

NATIVE = {dtype: NativeOperations.make(dtype) for dtype in (torch.float32, torch.float64)}


@dataclass(frozen=True)
class Case:
    """Operations where they run, in a dtype, and how far they may be from their twins."""

    operations: LayerOperations
    device: torch.device
    dtype: torch.dtype
    tolerance: float

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64).to(self.device, self.dtype)

    def wide(self, x: Tensor) -> Tensor:
        return x if x.dtype == torch.float64 else x.float()


def native(dtype: torch.dtype, tolerance: float) -> list[Case]:
    """None where there is no C compiler."""
    operations = NATIVE[dtype]
    return [] if operations is None else [Case(operations, torch.device("cpu"), dtype, tolerance)]


CASES = [
    Case(TritonOperations(), DEVICE, torch.float32, 1e-5),
    Case(TritonOperations(), DEVICE, torch.float16, 4e-3),
    *native(torch.float32, 1e-5),
    *native(torch.float64, 1e-12),
]
EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{type(case.operations).__name__} {case.dtype}")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@EACH
@pytest.mark.parametrize("size", [1, 48, 300])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.0])
def test_norm(case: Case, size: int, scale: float) -> None:
    x, weight = case.normal(3, size) * scale, case.normal(size)
    expected = F.rms_norm(case.wide(x), (size,), case.wide(weight), 1e-6)
    normed = case.wide(case.operations.rms_norm(x, weight, 1e-6))
    torch.testing.assert_close(normed, expected, rtol=case.tolerance, atol=case.tolerance)


@EACH
def test_norm_after_the_residual(case: Case) -> None:
    x, delta, weight = case.normal(4, 72), case.normal(4, 72), case.normal(72)
    total = x + delta
    expected = F.rms_norm(case.wide(total), (72,), case.wide(weight), 1e-5)
    normed = case.wide(case.operations.rms_norm(x, weight, 1e-5, delta=delta))
    torch.testing.assert_close(normed, expected, rtol=case.tolerance, atol=case.tolerance)
    assert torch.equal(x, total)


@EACH
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize(("queries", "keys", "head_dim"), [(12, 2, 64), (1, 1, 80), (6, 3, 6)])
def test_rotation(case: Case, normed: bool, queries: int, keys: int, head_dim: int) -> None:
    tables = [table.to(case.device, case.dtype)[3:8, None].contiguous() for table in Rope().tables(head_dim, 8)]
    projected = case.normal(5, queries + 2 * keys, head_dim)
    heads = projected[:, : queries + keys]
    weights = case.normal(head_dim), case.normal(head_dim)
    plain = heads.clone()
    if normed:
        plain = torch.cat([
            F.rms_norm(part, (head_dim,), weight, 1e-6)
            for part, weight in zip(heads.split([queries, keys], 1), weights, strict=True)
        ], 1)  # fmt: skip
    expected, values = rotate(plain, *tables), projected[:, queries + keys :].clone()
    case.operations.rotate_heads(heads, tables[0], tables[1], queries, (*weights, 1e-6) if normed else None)
    torch.testing.assert_close(heads, expected, rtol=case.tolerance, atol=case.tolerance)
    assert torch.equal(projected[:, queries + keys :], values)


@EACH
@pytest.mark.parametrize("size", [1, 100, 1025])
def test_swiglu(case: Case, size: int) -> None:
    gate_up = case.normal(3, 2 * size) * 5
    gate, up = gate_up.chunk(2, -1)
    found = case.operations.swiglu(gate_up)
    torch.testing.assert_close(found, F.silu(gate) * up, rtol=case.tolerance, atol=case.tolerance)


@pytest.mark.parametrize(
    "case", [*native(torch.float32, 1e-5), *native(torch.float64, 1e-12)], ids=lambda c: str(c.dtype)
)
def test_swiglu_of_what_is_huge_tiny_or_no_number(case: Case) -> None:
    edges = torch.tensor(
        [0.0, -0.0, 1e-30, -1e-30, 86.9, -86.9, 87.1, -87.1, 1e4, -1e4, float("nan")], dtype=case.dtype
    )
    gate = edges.repeat(9)
    found = case.operations.swiglu(torch.cat([gate, torch.ones_like(gate)])[None])[0]
    torch.testing.assert_close(found, F.silu(gate), rtol=case.tolerance, atol=1e-30, equal_nan=True)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", [*native(torch.float32, 0), *native(torch.float64, 0)], ids=lambda c: str(c.dtype))
def test_a_row_has_the_same_bits_with_however_many_c_computes_it(case: Case, threads: int) -> None:
    x, weight = case.normal(70, 96), case.normal(96)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for rows in (1, 2, 31, 32, 70):
            for run in (case.operations.swiglu, lambda x: case.operations.rms_norm(x, weight, 1e-6)):
                assert torch.equal(run(x[:rows]), torch.cat([run(row) for row in x[:rows].split(1)]))
    finally:
        torch.set_num_threads(before)


@EACH
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fused_decoder_gives_the_logits_of_the_plain_one(case: Case, tmp_path: Path, family: str) -> None:
    if case.dtype == torch.float16:
        pytest.skip("float32 tells more")
    write_checkpoint(tmp_path, family)
    plain, fused = (load_decoder(tmp_path, case.dtype, case.device) for _ in range(2))
    fuse_layers(fused, case.operations)
    assert isinstance(fused.layers[0], FusedLayer)
    token_ids = torch.randint(0, 97, (7,), device=case.device)
    tolerance = 10 * case.tolerance
    torch.testing.assert_close(logits(fused, token_ids), logits(plain, token_ids), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_decoder_on_a_cpu_is_fused_and_packed(tmp_path: Path, family: str) -> None:
    if NATIVE[torch.float32] is None:
        pytest.skip("there is no C compiler")
    write_checkpoint(tmp_path, family)
    plain, ready = (load_decoder(tmp_path, torch.float32) for _ in range(2))
    prepare_for_inference(ready, Kernels.NATIVE)
    assert isinstance(ready.layers[0], FusedLayer)
    token_ids = torch.randint(0, 97, (40,))
    torch.testing.assert_close(logits(ready, token_ids), logits(plain, token_ids), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_they_compile_without_spilling() -> None:
    for capability, made in reports("tests.models.launches").items():
        assert len(made) == 6
        assert {name: report for name, report in made.items() if report.spilled} == {}, f"sm_{capability}"
