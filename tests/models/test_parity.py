"""The one decoder computes what transformers computes, for every family it claims."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.checkpoint import load_decoder
from tests.models.checkpoints import FAMILIES, logits, reference_logits, write_checkpoint

TOLERANCE = 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(tmp_path: Path, family: str) -> None:
    model = write_checkpoint(tmp_path, family)
    decoder = load_decoder(tmp_path, torch.float32)
    # within a sliding window, past the original context of every scaled rope
    token_ids = torch.randint(0, 97, (min(200, decoder.config.max_position_embeddings),))
    expected = reference_logits(model, token_ids)
    assert expected.abs().max() > 1
    assert (logits(decoder, token_ids) - expected).abs().max() <= TOLERANCE


@pytest.mark.parametrize("family", ["llama", "qwen2 tied", "qwen3"])
def test_sharded_weights_load_like_a_single_file(tmp_path: Path, family: str) -> None:
    write_checkpoint(tmp_path / "single", family)
    write_checkpoint(tmp_path / "sharded", family, shard_size="40KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    single = load_decoder(tmp_path / "single", torch.float32)
    sharded = load_decoder(tmp_path / "sharded", torch.float32)
    for (name, expected), (_, actual) in zip(single.named_parameters(), sharded.named_parameters(), strict=True):
        assert torch.equal(expected, actual), name


def test_a_float64_load_is_exact_to_the_last_bit(tmp_path: Path) -> None:
    """Weights widen without loss, and the rotary tables are computed in float64, not widened."""
    model = write_checkpoint(tmp_path, "qwen3")
    decoder = load_decoder(tmp_path, torch.float64)
    assert {p.dtype for p in decoder.parameters()} == {torch.float64}
    angle = torch.tensor(200 * 1e4 ** (-2 / 16), dtype=torch.float64)
    assert decoder.cos[200, 0, 1] == angle.cos()
    assert decoder.sin[200, 0, 1] == -angle.sin()
    up = model.get_submodule("model.layers.1.mlp.up_proj").weight
    assert torch.equal(decoder.get_parameter("layers.1.gate_up.weight")[:, 80:], up.double().t())


def test_a_bfloat16_load_stays_near_the_float32_logits(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, "qwen3")
    decoder = load_decoder(tmp_path, torch.bfloat16)
    token_ids = torch.randint(0, 97, (64,))
    expected = reference_logits(model, token_ids)
    error = (logits(decoder, token_ids).float() - expected).abs().mean() / expected.abs().mean()
    assert error < 0.05


def test_a_loaded_decoder_is_for_inference(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    decoder = load_decoder(tmp_path, torch.float32)
    assert not decoder.training
    assert not any(p.requires_grad for p in decoder.parameters())


def test_a_sliding_window_bounds_the_context_only_where_it_is_on(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "mistral", "mistral with a sliding window")
    write_checkpoint(tmp_path / "qwen2", "qwen2")
    assert load_decoder(tmp_path / "mistral", torch.float32).config.max_position_embeddings == 128
    assert load_decoder(tmp_path / "qwen2", torch.float32).config.max_position_embeddings == 256
