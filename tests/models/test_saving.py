"""What save_decoder writes, this package and transformers read back unchanged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from models.checkpoint import load_decoder, save_decoder
from models.config import ModelConfig
from models.decoder import Decoder
from models.drafting import DraftConfig
from tests.models.checkpoints import FAMILIES, logits, reference_logits, write_checkpoint


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_decoder_is_the_same_model_to_transformers(tmp_path: Path, family: str) -> None:
    original = write_checkpoint(tmp_path / "original", family)
    decoder = load_decoder(tmp_path / "original", torch.float32)
    save_decoder(decoder, tmp_path / "saved", torch.float32, {})
    token_ids = torch.randint(0, 97, (min(200, decoder.config.max_position_embeddings),))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(reference_logits(model, token_ids), reference_logits(original, token_ids))


@pytest.mark.parametrize("family", FAMILIES)
def test_saving_loading_and_saving_again_changes_no_byte(tmp_path: Path, family: str) -> None:
    write_checkpoint(tmp_path / "original", family)
    decoder = load_decoder(tmp_path / "original", torch.float32)
    save_decoder(decoder, tmp_path / "first", torch.float32, {})
    again = load_decoder(tmp_path / "first", torch.float32)
    assert again.config == decoder.config
    save_decoder(again, tmp_path / "second", torch.float32, {})
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_draft_section_and_end_tokens_survive(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "original", "qwen3")
    config = ModelConfig.from_folder(tmp_path / "original")
    config = replace(config, draft=DraftConfig(mask_token_id=96, draft_length=8), eos_token_ids=(3, 5), bos_token_id=1)
    save_decoder(Decoder(config), tmp_path / "saved", torch.float16, {"pad_token_id": 4})
    raw = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert raw["tidar"] == {"mask_token_id": 96, "draft_length": 8, "scheme": "tidar", "shift": 0}
    assert raw["pad_token_id"] == 4
    assert ModelConfig.from_folder(tmp_path / "saved") == replace(config, dtype="float16")
    assert AutoConfig.from_pretrained(tmp_path / "saved").eos_token_id == [3, 5]


def test_weights_are_saved_in_the_dtype_that_was_asked_for(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "original")
    decoder = load_decoder(tmp_path / "original", torch.float32)
    save_decoder(decoder, tmp_path / "saved", torch.bfloat16, {})
    assert {tensor.dtype for tensor in load_file(tmp_path / "saved" / "model.safetensors").values()} == {torch.bfloat16}
    assert load_decoder(tmp_path / "saved", torch.float32).config.dtype == "bfloat16"


def test_saving_over_a_checkpoint_replaces_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "original")
    decoder = load_decoder(tmp_path / "original", torch.float32)
    for _ in range(2):
        save_decoder(decoder, tmp_path / "saved", torch.float32, {})
        with torch.no_grad():
            decoder.embed.weight += 1
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["config.json", "model.safetensors"]
    saved = load_decoder(tmp_path / "saved", torch.float32)
    token_ids = torch.arange(20)
    with torch.no_grad():
        decoder.embed.weight -= 1
    assert torch.allclose(logits(saved, token_ids), logits(decoder, token_ids), atol=1e-4)
