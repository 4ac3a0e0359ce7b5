"""Packed layers are the plain ones, only faster."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from models.checkpoint import load_decoder
from models.linear import Linear
from models.packing import HalfLinear, PackedLinear, PackedNorm, pack_for_cpu
from tests.models.checkpoints import FAMILIES, logits, write_checkpoint

ROWS = [0, 1, 2, 8, 20, 161]


def plain_linear(outputs: int, bias: bool) -> Linear:
    torch.manual_seed(0)
    plain = Linear(96, outputs, bias=bias)
    if plain.bias is not None:
        torch.nn.init.normal_(plain.bias)
    return plain


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("outputs", [72, 8192], ids=["small", "large"])
@pytest.mark.parametrize("packed_type", [PackedLinear, HalfLinear])
@torch.inference_mode()
def test_a_packed_linear_gives_what_the_plain_one_gives(
    rows: int, bias: bool, outputs: int, packed_type: type[PackedLinear | HalfLinear]
) -> None:
    plain = plain_linear(outputs, bias)
    plain.weight.copy_(plain.weight.half())
    packed = packed_type(plain.weight, plain.bias)
    x, residual = torch.randn(rows, 96), torch.randn(rows, outputs)
    before = residual.clone()
    torch.testing.assert_close(packed(x), plain(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed(x, residual=residual), plain(x, residual=residual), atol=1e-5, rtol=1e-5)
    assert torch.equal(residual, before)


@pytest.mark.parametrize("threads", [1, 2])
@torch.inference_mode()
def test_a_row_has_the_same_bits_with_however_many_rows_a_half_linear_computes_it(threads: int) -> None:
    plain = plain_linear(200, bias=True)
    packed = HalfLinear(plain.weight.half().float(), plain.bias)
    x = torch.randn(40, 96)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        expected = torch.cat([packed(row) for row in x.split(1)])
        assert all(torch.equal(packed(x[:rows]), expected[:rows]) for rows in range(1, 41))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("number", "fits"),
    [(1.0, True), (1 + 2**-10, True), (1 + 2**-11, False), (2**-24, True), (2**-25, False), (7e4, False)],
)
def test_only_weights_that_float16_holds_exactly_are_kept_in_half_the_bytes(number: float, fits: bool) -> None:
    weight = torch.ones(8, 8)
    weight[3, 5] = number
    assert HalfLinear.fits(weight) == fits


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e3, 0.0], ids=["usual", "near eps", "large", "zero"])
@torch.inference_mode()
def test_a_packed_norm_keeps_eps_inside_the_root(size: float) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(20, 64) * size, torch.rand(64)
    expected = F.rms_norm(x.double(), (64,), weight.double(), 1e-6).float()
    torch.testing.assert_close(PackedNorm(weight, 1e-6)(x), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 40])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_decoder_gives_the_logits_of_the_plain_one(tmp_path: Path, family: str, rows: int) -> None:
    write_checkpoint(tmp_path, family)
    plain, packed = load_decoder(tmp_path, torch.float32), load_decoder(tmp_path, torch.float32)
    pack_for_cpu(packed)
    assert isinstance(packed.head, PackedLinear)
    token_ids = torch.randint(0, 97, (rows,))
    torch.testing.assert_close(logits(packed, token_ids), logits(plain, token_ids), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 40])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_in_float16_is_computed_from_half_the_bytes(tmp_path: Path, family: str, rows: int) -> None:
    write_checkpoint(tmp_path, family)
    decoders = [load_decoder(tmp_path, torch.float32) for _ in range(2)]
    for parameter in (p for decoder in decoders for p in decoder.parameters()):
        parameter.data = parameter.data.half().float()
    plain, packed = decoders
    pack_for_cpu(packed)
    assert isinstance(packed.head, HalfLinear)
    token_ids = torch.randint(0, 97, (rows,))
    torch.testing.assert_close(logits(packed, token_ids), logits(plain, token_ids), atol=1e-4, rtol=1e-4)


def test_bfloat16_is_packed_where_the_processor_can(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "qwen3")
    plain, packed = load_decoder(tmp_path, torch.bfloat16), load_decoder(tmp_path, torch.bfloat16)
    pack_for_cpu(packed)
    token_ids = torch.randint(0, 97, (20,))
    expected = logits(plain, token_ids)
    assert (logits(packed, token_ids) - expected).abs().mean() < 0.05 * expected.abs().mean()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_dtypes_stay_as_they_are(tmp_path: Path, dtype: torch.dtype) -> None:
    write_checkpoint(tmp_path)
    decoder = load_decoder(tmp_path, dtype)
    pack_for_cpu(decoder)
    assert not any(isinstance(module, PackedLinear | HalfLinear | PackedNorm) for module in decoder.modules())


def test_nothing_is_packed_where_onednn_is_switched_off(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    decoder = load_decoder(tmp_path, torch.float32)
    with torch.backends.mkldnn.flags(enabled=False):
        pack_for_cpu(decoder)
    assert not any(isinstance(module, PackedLinear | HalfLinear | PackedNorm) for module in decoder.modules())


def test_a_garbage_row_spoils_no_other(tmp_path: Path) -> None:
    """NaN in one row of a batch, as padding may hold, stays there."""
    write_checkpoint(tmp_path, "qwen3")
    decoder = load_decoder(tmp_path, torch.float32)
    pack_for_cpu(decoder)
    hidden = torch.randn(20, 48)
    clean = decoder.logits(hidden)
    hidden[7] = float("nan")
    spoilt = decoder.logits(hidden)
    others = [row for row in range(20) if row != 7]
    assert torch.equal(spoilt[others], clean[others])
