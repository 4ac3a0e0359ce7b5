"""Each small kernel gives what its torch twin gives, and fused layers what the plain ones give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.checkpoint import load_decoder
from models.fusing import FusedLayer, fuse_layers
from models.kernels.rms_norm import rms_norm
from models.kernels.rotary import rotate_heads
from models.kernels.swiglu import swiglu
from models.rope import Rope, rotate
from tests.ahead_of_time import reports
from tests.models.checkpoints import FAMILIES, logits, write_checkpoint

#: a GPU where there is one, else Triton's interpreter (see tests/__init__.py)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

DTYPES = [(torch.float32, 1e-5), (torch.float16, 4e-3)]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(DEVICE, dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES, ids=str)
@pytest.mark.parametrize("size", [1, 48, 300])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.0])
def test_norm(dtype: torch.dtype, tolerance: float, size: int, scale: float) -> None:
    x, weight = normal(3, size, dtype=dtype) * scale, normal(size, dtype=dtype)
    expected = F.rms_norm(x.float(), (size,), weight.float(), 1e-6)
    torch.testing.assert_close(rms_norm(x, weight, 1e-6).float(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES, ids=str)
def test_norm_after_the_residual(dtype: torch.dtype, tolerance: float) -> None:
    x, delta, weight = normal(4, 72, dtype=dtype), normal(4, 72, dtype=dtype), normal(72, dtype=dtype)
    total = x + delta
    expected = F.rms_norm(total.float(), (72,), weight.float(), 1e-5)
    normed = rms_norm(x, weight, 1e-5, delta=delta)
    torch.testing.assert_close(normed.float(), expected, rtol=tolerance, atol=tolerance)
    assert torch.equal(x, total)


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES, ids=str)
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize(("queries", "keys", "head_dim"), [(12, 2, 64), (1, 1, 80), (6, 3, 6)])
def test_rotation(dtype: torch.dtype, tolerance: float, normed: bool, queries: int, keys: int, head_dim: int) -> None:
    tables = [table.to(DEVICE, dtype)[3:8, None] for table in Rope().tables(head_dim, 8)]
    projected = normal(5, queries + 2 * keys, head_dim, dtype=dtype)
    heads = projected[:, : queries + keys]
    weights = normal(head_dim, dtype=dtype), normal(head_dim, dtype=dtype)
    plain = heads.clone()
    if normed:
        plain = torch.cat([
            F.rms_norm(part, (head_dim,), weight, 1e-6)
            for part, weight in zip(heads.split([queries, keys], 1), weights, strict=True)
        ], 1)  # fmt: skip
    expected, values = rotate(plain, *tables), projected[:, queries + keys :].clone()
    rotate_heads(heads, tables[0], tables[1], queries, (*weights, 1e-6) if normed else None)
    torch.testing.assert_close(heads, expected, rtol=tolerance, atol=tolerance)
    assert torch.equal(projected[:, queries + keys :], values)


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES, ids=str)
@pytest.mark.parametrize("size", [1, 100, 1025])
def test_swiglu(dtype: torch.dtype, tolerance: float, size: int) -> None:
    gate_up = normal(3, 2 * size, dtype=dtype) * 5
    gate, up = gate_up.chunk(2, -1)
    torch.testing.assert_close(swiglu(gate_up), F.silu(gate) * up, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fused_decoder_gives_the_logits_of_the_plain_one(tmp_path: Path, family: str) -> None:
    write_checkpoint(tmp_path, family)
    plain, fused = (load_decoder(tmp_path, torch.float32, DEVICE) for _ in range(2))
    fuse_layers(fused)
    assert isinstance(fused.layers[0], FusedLayer)
    token_ids = torch.randint(0, 97, (7,), device=DEVICE)
    torch.testing.assert_close(logits(fused, token_ids), logits(plain, token_ids), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_they_compile_without_spilling() -> None:
    for capability, made in reports("tests.models.launches").items():
        assert len(made) == 6
        assert {name: report for name, report in made.items() if report.spilled} == {}, f"sm_{capability}"
