"""Where only some rows' hidden states are wanted, these are what they would be, and the others zeros."""

from __future__ import annotations

import pytest
import torch

from models.inference import Kernels, prepare_for_inference
from models.native.library import compiler
from tests.engine.tiny import random_decoder, tiny_config
from tests.models.checkpoints import causal_attention

ROWS = 40


@pytest.mark.parametrize("architecture", ["Qwen3ForCausalLM", "Qwen2ForCausalLM"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernels", [None, Kernels.TORCH, Kernels.NATIVE])
@pytest.mark.parametrize("wanted", [[ROWS - 1], [3, 17, 38, 39], list(range(ROWS))])
@torch.inference_mode()
def test_wanted_rows_are_those_of_a_whole_forward(
    architecture: str, dtype: torch.dtype, kernels: Kernels | None, wanted: list[int]
) -> None:
    if kernels is Kernels.NATIVE and compiler() is None:
        pytest.skip("there is no C compiler")
    decoder = random_decoder(tiny_config(architecture)).to(dtype)
    decoder.build_tables()
    if kernels is not None:
        prepare_for_inference(decoder, kernels)
    token_ids, positions = torch.randint(0, decoder.config.vocab_size, (ROWS,)), torch.arange(ROWS)
    whole = decoder(token_ids, positions, causal_attention)
    some = decoder(token_ids, positions, causal_attention, wanted=torch.tensor(wanted))
    assert some.shape == whole.shape
    if kernels is Kernels.NATIVE:
        assert torch.equal(some[wanted], whole[wanted])
    torch.testing.assert_close(some[wanted], whole[wanted])
    others = [row for row in range(ROWS) if row not in wanted]
    assert not some[others].any()
