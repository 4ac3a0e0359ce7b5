"""Weights in 8 and 4 bits: near the plain layers, smaller, and the same bits for a row in any batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.checkpoint import load_decoder
from models.errors import ModelError
from models.packing import pack_for_cpu
from models.quantization import Int4Linear, Int8Linear, Quantization, quantize_weights, weight_bytes
from models.tokenizer import Tokenizer
from tests.engine.tiny import random_decoder, tiny_config
from tests.models.checkpoints import logits

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "models" / "shipped" / "tidar-python-5m"
LAYERS = [Int8Linear, Int4Linear]
SIZES = [(32, 64), (64, 32), (576, 960), (1536, 576), (96, 16), (2048, 144)]
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 20, 32, 33, 72)


def weights(inputs: int, outputs: int) -> Tensor:
    return torch.randn(inputs, outputs, generator=torch.Generator().manual_seed(0)) * 0.1


def rows(count: int, inputs: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, inputs, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_a_row_has_the_same_bits_at_any_width_and_place(
    layer: type[Int8Linear | Int4Linear], threads: int, size: tuple[int, int]
) -> None:
    linear, x, usual = layer(weights(*size)), rows(80, size[0]), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = linear(x)
        for width in WIDTHS:
            for start in (0, 1, 80 - width):
                assert torch.equal(linear(x[start : start + width]), together[start : start + width]), width
    finally:
        torch.set_num_threads(usual)


@pytest.mark.parametrize(("layer", "levels"), [(Int8Linear, 254), (Int4Linear, 15)])
@pytest.mark.parametrize("size", SIZES)
def test_the_product_is_that_of_the_rounded_weights(
    layer: type[Int8Linear | Int4Linear], levels: int, size: tuple[int, int]
) -> None:
    weight, x = weights(*size), rows(9, size[0])
    bias, residual = torch.randn(size[1]), torch.randn(9, size[1])
    got = layer(weight, bias)(x, residual)
    # half a level of rounding on each weight, and bfloat16's own rounding of scales, rows and results
    spread = weight.amax() - weight.amin()
    bound = x.abs().sum(1, keepdim=True) * spread * (0.75 / levels + 2**-7)
    assert ((got - (x @ weight + bias + residual)).abs() <= bound + 2**-7).all()
    assert torch.nn.functional.cosine_similarity(got, x @ weight + bias + residual, dim=1).min() > 0.98


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_rows_of_every_dtype_come_back_in_it(layer: type[Int8Linear | Int4Linear], dtype: torch.dtype) -> None:
    linear = layer(weights(64, 32))
    y = linear(rows(3, 64, dtype))
    assert y.dtype == dtype
    assert torch.equal(y, linear(rows(3, 64, dtype).bfloat16()).to(dtype))


@pytest.mark.parametrize("layer", LAYERS)
def test_rows_of_zeros_stay_zeros(layer: type[Int8Linear | Int4Linear]) -> None:
    assert not layer(torch.zeros(64, 32))(rows(3, 64)).any()


@pytest.mark.parametrize("size", [(48, 64), (64, 24)])
def test_a_size_that_four_bits_do_not_take_is_one_sentence(size: tuple[int, int]) -> None:
    with pytest.raises(ModelError, match=r"^A layer of .* use --quantization int8\.$"):
        Int4Linear(weights(*size))


@pytest.mark.parametrize("architecture", ["Qwen3ForCausalLM", "Qwen2ForCausalLM"])
@pytest.mark.parametrize(("kind", "least"), [("int8", 0.999), ("int4", 0.9)])
def test_a_quantised_decoder_is_smaller_and_says_nearly_the_same(
    architecture: str, kind: Quantization, least: float
) -> None:
    decoder = random_decoder(tiny_config(architecture), std=0.1).eval().requires_grad_(False)
    tokens = torch.arange(3, 43)
    plain, size = logits(decoder, tokens), weight_bytes(decoder)
    quantize_weights(decoder, kind)
    assert weight_bytes(decoder) < size / 2
    quantised = logits(decoder, tokens)
    assert torch.nn.functional.cosine_similarity(quantised, plain, dim=1).min() > least
    pack_for_cpu(decoder)
    assert torch.nn.functional.cosine_similarity(logits(decoder, tokens), quantised, dim=1).min() > 0.999


def test_nothing_changes_where_nothing_is_asked_for() -> None:
    decoder = random_decoder(tiny_config())
    size = weight_bytes(decoder)
    quantize_weights(decoder, "none")
    assert weight_bytes(decoder) == size


@pytest.mark.parametrize(("kind", "divergence"), [("int8", 1e-3), ("int4", 3e-2)])
def test_the_shipped_model_loses_little(kind: Quantization, divergence: float) -> None:
    """Kullback-Leibler divergence from the plain model's next token, in nats, mean over 300 tokens of Python."""
    tokens = torch.tensor(Tokenizer.from_folder(SHIPPED).encode((ROOT / "engine" / "scheduler.py").read_text())[:300])
    decoder = load_decoder(SHIPPED, torch.float32)
    plain = logits(decoder, tokens).log_softmax(-1)
    quantize_weights(decoder, kind)
    got = logits(decoder, tokens).log_softmax(-1)
    assert 0 < (plain.exp() * (plain - got)).sum(-1).mean() < divergence
