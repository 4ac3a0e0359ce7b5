"""Checkpoints of every published family load by their own key and tensor names, and compute what they should."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Ministral3Config, Mistral3Config, Mistral3ForConditionalGeneration

from models.checkpoint import load_decoder, save_decoder
from models.config import ModelConfig
from models.drafting import DraftConfig
from models.packing import pack_for_cpu
from tests.models.checkpoints import SIZES, change_config, logits, reference_logits, write_checkpoint
from tests.models.plain_diffusion import dream_logits, llada_logits
from tests.models.published import PUBLISHED, YARN, write_published

TOLERANCE = 1e-4


@pytest.mark.parametrize("name", PUBLISHED)
def test_causal_logits_are_those_of_the_same_arithmetic_in_transformers(tmp_path: Path, name: str) -> None:
    twin = write_published(tmp_path, name)
    decoder = load_decoder(tmp_path, torch.float32)
    token_ids = torch.randint(0, 97, (200,))
    expected = reference_logits(twin, token_ids)
    assert expected.abs().max() > 1
    assert (logits(decoder, token_ids) - expected).abs().max() <= TOLERANCE
    pack_for_cpu(decoder)
    assert (logits(decoder, token_ids) - expected).abs().max() <= TOLERANCE


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_the_config_says_of_drafting_is_recognised(tmp_path: Path, name: str) -> None:
    write_published(tmp_path, name)
    family = PUBLISHED[name]
    expected = DraftConfig(family.mask_token_id, family.draft_length, family.scheme, family.shift)
    assert ModelConfig.from_folder(tmp_path).draft == expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_checkpoint_can_be_written_under_its_own_names(tmp_path: Path, name: str) -> None:
    write_published(tmp_path / "theirs", name)
    decoder = load_decoder(tmp_path / "theirs", torch.float32)
    save_decoder(decoder, tmp_path / "ours", torch.float32)
    assert (
        load_file(tmp_path / "theirs/model.safetensors").keys() == load_file(tmp_path / "ours/model.safetensors").keys()
    )
    again = load_decoder(tmp_path / "ours", torch.float32)
    assert again.config == decoder.config
    token_ids = torch.randint(0, 97, (100,))
    assert torch.equal(logits(again, token_ids), logits(decoder, token_ids))


@pytest.mark.parametrize(
    ("name", "plain", "theta", "eps"), [("LLaDA", llada_logits, 5e5, 1e-5), ("Dream", dream_logits, 1e6, 1e-6)]
)
def test_bidirectional_logits_are_those_of_a_plain_forward(
    tmp_path: Path, name: str, plain: Callable[..., Tensor], theta: float, eps: float
) -> None:
    write_published(tmp_path, name)
    decoder = load_decoder(tmp_path, torch.float32)
    token_ids = torch.randint(0, 97, (60,))

    def attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (heads.transpose(0, 1)[None] for heads in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)[0].transpose(0, 1)

    with torch.inference_mode():
        actual = decoder.logits(decoder(token_ids, torch.arange(60), attention))
    assert (actual - plain(tmp_path, token_ids, heads=6, theta=theta, eps=eps)).abs().max() <= TOLERANCE


def test_defaults_are_those_that_the_families_publish(tmp_path: Path) -> None:
    """Mask and block where config.json does not repeat them."""
    expected = {
        "Nemotron-Labs-Diffusion": (100, 32),
        "Efficient-DLM": (151662, 32),
        "SDAR": (151669, 4),
        "I-DLM": (151669, 4),
        "LLaDA": (126336, 32),
        "Dream": (151666, 32),
    }
    for name, (mask, length) in expected.items():
        write_published(tmp_path / name, name)
        vocabulary = {"vocab_size": 151936, "embedding_size": 151936}
        change_config(tmp_path / name, **vocabulary, mask_token_id=..., block_size=...)
        draft = ModelConfig.from_folder(tmp_path / name).draft
        assert draft is not None and (draft.mask_token_id, draft.draft_length) == (mask, length), name


def test_queries_scale_only_past_the_original_context(tmp_path: Path) -> None:
    """1 + beta · ln(1 + floor(p / original)): no table at all where it would be 1 everywhere."""
    write_published(tmp_path, "Nemotron-Labs-Diffusion")
    scales = load_decoder(tmp_path, torch.float64).query_scales
    assert scales is not None and scales.flatten()[[0, 63, 64, 127, 128, 255]].tolist() == pytest.approx(
        [1, 1, 1.0693147, 1.0693147, 1.1098612, 1.1386294]
    )
    change_config(tmp_path, max_position_embeddings=64)
    assert load_decoder(tmp_path, torch.float64).query_scales is None


def test_a_tidar_section_outranks_the_familys_own_keys(tmp_path: Path) -> None:
    write_published(tmp_path, "Nemotron-Labs-Diffusion")
    change_config(tmp_path, tidar={"mask_token_id": 3, "draft_length": 8})
    assert ModelConfig.from_folder(tmp_path).draft == DraftConfig(3, 8)


def test_a_qwen2_without_a_mask_token_is_plain(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "qwen2")
    assert ModelConfig.from_folder(tmp_path).draft is None


@pytest.mark.parametrize("tied", [False, True])
def test_the_text_model_of_a_mistral_3_with_vision_loads_without_its_vision(tmp_path: Path, tied: bool) -> None:
    """Published as text_config and language_model.*, beside a vision tower."""
    twin = write_checkpoint(tmp_path, "ministral3 tied" if tied else "ministral3")
    weights = tmp_path / "model.safetensors"
    tensors = {f"language_model.{name}": tensor.clone() for name, tensor in load_file(weights).items()}
    tensors["vision_tower.patch_conv.weight"] = torch.zeros(3, 3)
    tensors["multi_modal_projector.linear_1.weight"] = torch.zeros(3, 3)
    save_file(tensors, weights, metadata={"format": "pt"})
    text = json.loads((tmp_path / "config.json").read_text())
    text.pop("architectures")
    outer = {"architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3", "dtype": "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps({**outer, "text_config": text, "vision_config": {}}))
    decoder = load_decoder(tmp_path, torch.float32)
    token_ids = torch.randint(0, 97, (200,))
    assert (logits(decoder, token_ids) - reference_logits(twin, token_ids)).abs().max() <= TOLERANCE
    save_decoder(decoder, tmp_path / "again", torch.float32)
    assert torch.equal(logits(load_decoder(tmp_path / "again", torch.float32), token_ids), logits(decoder, token_ids))


def test_the_text_model_is_what_transformers_writes_of_a_mistral_3(tmp_path: Path) -> None:
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 8,
    }
    config = Mistral3Config(
        vision_config={"model_type": "pixtral", "image_size": 28, "patch_size": 14, **vision},
        text_config=Ministral3Config(**SIZES, head_dim=16, rope_parameters=YARN).to_dict(),
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = Mistral3ForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path)
    token_ids = torch.randint(11, 97, (100,))
    expected = reference_logits(model, token_ids)
    assert (logits(load_decoder(tmp_path, torch.float32), token_ids) - expected).abs().max() <= TOLERANCE
