"""A product by the C kernel is the plain one, kept as small as it can be, with the same bits in every batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import models.native
from models.linear import Linear
from models.native.layer_operations import NativeOperations
from models.native.library import compiler, library
from models.native.linear import NativeLinear, Products

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")

#: around the rows of a tile, and of enough tiles that a weight is converted once for all of them
ROWS = [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 20, 40, 161]


def products(dtype: torch.dtype) -> Products:
    kernels = library(Path(models.native.__file__).parent, dtype)
    assert kernels is not None
    return Products(kernels, dtype)


def plain_linear(inputs: int, outputs: int, dtype: torch.dtype, kept: torch.dtype, bias: bool = True) -> Linear:
    """With weights that `kept` holds exactly, and no smaller dtype."""
    torch.manual_seed(0)
    plain = Linear(inputs, outputs, bias).to(dtype).requires_grad_(False)
    plain.weight.copy_(plain.weight.to(kept))
    if kept == torch.bfloat16:
        plain.weight[0, 0] = 2.0**-40  # which float16 does not reach
    if plain.bias is not None:
        torch.nn.init.normal_(plain.bias)
    return plain


KEPT = [
    (torch.float32, torch.float16),
    (torch.float32, torch.bfloat16),
    (torch.float32, torch.float32),
    (torch.float64, torch.float64),
]


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize(("inputs", "outputs"), [(96, 72), (1, 1), (900, 33), (256, 512)])
@pytest.mark.parametrize(("dtype", "kept"), KEPT)
def test_it_gives_what_the_plain_one_gives(
    dtype: torch.dtype, kept: torch.dtype, inputs: int, outputs: int, bias: bool, rows: int
) -> None:
    plain = plain_linear(inputs, outputs, dtype, kept, bias)
    native = NativeLinear(products(dtype), plain.weight, plain.bias)
    assert inputs == 1 or native.panels.dtype == kept
    x, residual = torch.randn(rows, inputs, dtype=dtype), torch.randn(rows, outputs, dtype=dtype)
    before = residual.clone()
    tolerance = 2e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(native(x), plain(x), atol=tolerance, rtol=tolerance)
    expected = plain(x, residual=residual)
    torch.testing.assert_close(native(x, residual=residual), expected, atol=tolerance, rtol=tolerance)
    assert torch.equal(residual, before)
    assert native.add_to(residual, x) is residual
    torch.testing.assert_close(residual, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("dtype", "kept"), KEPT)
def test_a_row_has_the_same_bits_with_whatever_rows_it_is_computed(
    dtype: torch.dtype, kept: torch.dtype, threads: int
) -> None:
    plain = plain_linear(900, 520, dtype, kept)
    native = NativeLinear(products(dtype), plain.weight, plain.bias)
    x = torch.randn(200, 900, dtype=dtype)
    alone = torch.cat([native(row) for row in x.split(1)])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for rows in [*range(1, 41), 97, 200]:
            assert torch.equal(native(x[:rows]), alone[:rows])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [*ROWS, 97, 200])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize(("dtype", "kept"), KEPT)
def test_gates_and_ups_at_once_have_the_bits_of_one_after_the_other(
    dtype: torch.dtype, kept: torch.dtype, bias: bool, rows: int
) -> None:
    operations = NativeOperations.make(dtype)
    assert operations is not None
    plain = plain_linear(300, 2 * 96, dtype, kept, bias)
    native = operations.linear(plain.weight, plain.bias)
    x = torch.randn(rows, 300, dtype=dtype)
    assert torch.equal(native.gated(x), operations.swiglu(native(x)))


@pytest.mark.parametrize(("outputs", "gates"), [(128, True), (2 * 33, False), (64 + 33, False)])
def test_ups_that_do_not_begin_with_a_panel_are_no_ups_to_it(outputs: int, gates: bool) -> None:
    assert NativeLinear(products(torch.float32), torch.ones(8, outputs)).gates == gates


def test_inputs_may_lie_in_memory_with_gaps() -> None:
    plain = plain_linear(64, 40, torch.float32, torch.float16)
    native = NativeLinear(products(torch.float32), plain.weight, plain.bias)
    x = torch.randn(9, 128)[:, ::2]
    assert torch.equal(native(x), native(x.contiguous()))
    wide = NativeLinear(products(torch.float32), torch.randn(64, 128))
    assert torch.equal(wide.gated(x), wide.gated(x.contiguous()))


def test_what_is_no_number_stays_in_its_row() -> None:
    plain = plain_linear(64, 40, torch.float32, torch.float16)
    native = NativeLinear(products(torch.float32), plain.weight, plain.bias)
    x = torch.randn(9, 64)
    expected = native(x)
    x[4] = float("nan")
    found = native(x)
    assert found[4].isnan().all()
    assert torch.equal(found[:4], expected[:4]) and torch.equal(found[5:], expected[5:])


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        (1 + 2**-10, torch.float16),
        (1 + 2**-11, torch.float32),
        (2**-24, torch.float16),
        (2**-25, torch.bfloat16),
        (3e38, torch.float32),
        (2.0**127, torch.bfloat16),
    ],
)
def test_a_weight_takes_half_the_bytes_only_where_no_number_changes(number: float, kept: torch.dtype) -> None:
    weight = torch.ones(8, 8)
    weight[3, 5] = number
    assert products(torch.float32).kept_as(weight) == kept
