"""A layer in two calls has the bits of its seven, and gives way where a product is not the kernel's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from models.config import ModelConfig
from models.decoder import Decoder
from models.inference import Kernels, prepare_for_inference
from models.linear import Linear
from models.native.layer import NativeLayer
from models.native.library import compiler
from models.quantization import quantize_weights
from tests.engine.tiny import random_decoder, tiny_config
from tests.models.checkpoints import logits

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")

QWEN3 = tiny_config()
CONFIGS = {
    "qk norm": QWEN3,
    "no qk norm": tiny_config("LlamaForCausalLM"),
    "biases": replace(tiny_config("Qwen2ForCausalLM"), output_bias=True, mlp_bias=True),
    "one kv head": replace(QWEN3, num_kv_heads=1, intermediate_size=320),
}


def ready_decoder(config: ModelConfig, dtype: torch.dtype, before: Callable[[Decoder], None] | None = None) -> Decoder:
    decoder = random_decoder(config).to(dtype).requires_grad_(False)
    for module in decoder.modules():
        if isinstance(module, Linear) and module.bias is not None:
            nn.init.normal_(module.bias)
    decoder.build_tables()
    if before is not None:
        before(decoder)
    prepare_for_inference(decoder, Kernels.NATIVE)
    return decoder


def layers(decoder: Decoder) -> list[NativeLayer]:
    return [layer for layer in decoder.layers if isinstance(layer, NativeLayer)]


@pytest.mark.parametrize("rows", [0, 1, 4, 20, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_two_calls_have_the_bits_of_seven(config: ModelConfig, dtype: torch.dtype, rows: int) -> None:
    decoder = ready_decoder(config, dtype)
    token_ids = torch.randint(0, config.vocab_size, (rows,))
    found = logits(decoder, token_ids)
    for layer in layers(decoder):
        assert layer.whole is not None
        layer.whole = None
    assert torch.equal(found, logits(decoder, token_ids))


def quantised(decoder: Decoder) -> None:
    quantize_weights(decoder, "int8")


@pytest.mark.parametrize(
    ("config", "before"),
    [(QWEN3, quantised), (replace(QWEN3, intermediate_size=70), None)],
    ids=["quantised", "ups within a panel"],
)
def test_other_products_are_called_one_by_one(config: ModelConfig, before: Callable[[Decoder], None] | None) -> None:
    decoder = ready_decoder(config, torch.float32, before)
    assert len(layers(decoder)) == config.num_layers and all(layer.whole is None for layer in layers(decoder))
    assert logits(decoder, torch.arange(5)).isfinite().all()


def test_a_product_that_is_replaced_before_the_first_forward_counts() -> None:
    class Doubled(nn.Module):
        def __init__(self, linear: nn.Module) -> None:
            super().__init__()
            self.linear = linear

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.linear(x)
            return 2 * out

    decoder, doubled = (ready_decoder(QWEN3, torch.float64) for _ in range(2))
    doubled.layers[0].output = Doubled(doubled.layers[0].output)
    assert not torch.equal(logits(decoder, torch.arange(5)), logits(doubled, torch.arange(5)))
