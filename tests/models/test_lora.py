"""PEFT LoRA folders: merged at load to what the definition says, and refused where they do not fit."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from models.checkpoint import load_decoder
from models.errors import ModelError
from tests.models.checkpoints import logits, reference_logits, write_checkpoint
from tests.models.gguf_files import write_gguf

TARGETS = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj")
TOKENS = torch.arange(3, 40)


@pytest.fixture
def model(tmp_path: Path) -> PreTrainedModel:
    return write_checkpoint(tmp_path / "model")


def factors(model: PreTrainedModel, rank: int = 4, targets: tuple[str, ...] = TARGETS) -> dict[str, Tensor]:
    """A and B of every targeted matrix, under PEFT's names."""
    generator, found = torch.Generator().manual_seed(0), {}
    for name, weight in model.named_parameters():
        module = name.removesuffix(".weight")
        if module.split(".")[-1] in targets:
            outputs, inputs = weight.shape
            found[f"base_model.model.{module}.lora_A.weight"] = torch.randn(rank, inputs, generator=generator) * 0.1
            found[f"base_model.model.{module}.lora_B.weight"] = torch.randn(outputs, rank, generator=generator) * 0.1
    return found


def write_lora(folder: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    usual = {"peft_type": "LORA", "r": 4, "lora_alpha": 16, "bias": "none", "target_modules": list(TARGETS)}
    (folder / "adapter_config.json").write_text(json.dumps({**usual, **config}))
    return folder


def merge(model: PreTrainedModel, tensors: dict[str, Tensor], scale: float) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            a, b = (tensors.get(f"base_model.model.{name.removesuffix('.weight')}.lora_{s}.weight") for s in "AB")
            if a is not None and b is not None:
                parameter += scale * (b @ a)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 16 / 4), (True, 16 / math.sqrt(4))])
def test_the_products_are_added_to_their_matrices(
    tmp_path: Path, model: PreTrainedModel, rslora: bool, scale: float
) -> None:
    tensors = factors(model)
    folder = write_lora(tmp_path / "lora", tensors, use_rslora=rslora)
    plain = reference_logits(model, TOKENS)
    merge(model, tensors, scale)
    got = logits(load_decoder(tmp_path / "model", torch.float32, lora=folder), TOKENS)
    assert torch.allclose(got, reference_logits(model, TOKENS), atol=5e-4, rtol=1e-4)
    assert not torch.allclose(got, plain, atol=1e-2)


def test_ranks_and_alphas_may_differ_by_module(tmp_path: Path, model: PreTrainedModel) -> None:
    small, large = factors(model, 2, ("q_proj",)), factors(model, 8, ("up_proj",))
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"self_attn.q_proj": 6}}
    folder = write_lora(tmp_path / "lora", {**small, **large}, r=8, **patterns)
    merge(model, small, 6 / 2)
    merge(model, large, 16 / 8)
    got = logits(load_decoder(tmp_path / "model", torch.float32, lora=folder), TOKENS)
    assert torch.allclose(got, reference_logits(model, TOKENS), atol=5e-4, rtol=1e-4)


def test_a_gguf_file_takes_them_too(tmp_path: Path, model: PreTrainedModel) -> None:
    tensors = factors(model)
    path, folder = write_gguf(tmp_path / "m.gguf", model), write_lora(tmp_path / "lora", tensors)
    merge(model, tensors, 4.0)
    got = logits(load_decoder(path, torch.float32, lora=folder), TOKENS)
    assert torch.allclose(got, reference_logits(model, TOKENS), atol=5e-4, rtol=1e-4)


def refusal(tmp_path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_decoder(tmp_path / "model", torch.float32, lora=tmp_path / "lora")
    message = str(caught.value)
    assert message.endswith(".")
    assert not re.search(r"[.!?]\s|\n", message), message
    return message


Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
EMBEDDING = "base_model.model.model.embed_tokens.lora_"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({f"{Q}A.weight": torch.zeros(4, 47)}, "has shape [4, 47]"),
        ({f"{Q}B.weight": torch.zeros(48, 5)}, "make it [48, 4]"),
        ({f"{Q}A.weight": torch.zeros(4, 48, dtype=torch.int8)}, "I8"),
        ({f"{Q}B.weight": None}, "only one of the two factors"),
        ({f"{Q.replace('.0.', '.9.')}A.weight": torch.zeros(4, 48)}, "layers.9"),
        ({"base_model.model.lm_head.weight": torch.zeros(97, 48)}, "no such linear layer"),
        ({f"{EMBEDDING}A.weight": torch.zeros(4, 48), f"{EMBEDDING}B.weight": torch.zeros(97, 4)}, "the embedding"),
        ({"model.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(4, 48)}, "no such linear layer"),
    ],
)
def test_factors_that_do_not_fit_are_named(
    tmp_path: Path, model: PreTrainedModel, changes: dict[str, Tensor | None], told: str
) -> None:
    tensors = {**factors(model), **changes}
    write_lora(tmp_path / "lora", {name: tensor for name, tensor in tensors.items() if tensor is not None})
    assert told in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"r": 0}, "positive number for r"),
        ({"r": 8}, "make it [8, "),
        ({"lora_alpha": "16"}, "positive number for lora_alpha"),
        ({"rank_pattern": []}, "no low-rank"),
        ({"alpha_pattern": 7}, "needs an object for alpha_pattern"),
    ],
)
def test_a_config_that_is_not_plain_lora_is_named(
    tmp_path: Path, model: PreTrainedModel, changes: dict[str, Any], told: str
) -> None:
    write_lora(tmp_path / "lora", {} if "rank_pattern" in changes else factors(model), **changes)
    assert told in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["no folder", "no config", "pickle", "truncated", "config is no json"])
def test_a_folder_that_is_none_is_one_sentence(tmp_path: Path, model: PreTrainedModel, kind: str) -> None:
    if kind == "no folder":
        assert "holds no adapter_config.json" in refusal(tmp_path)
        return
    folder = write_lora(tmp_path / "lora", factors(model))
    weights = folder / "adapter_model.safetensors"
    match kind:
        case "no config":
            (folder / "adapter_config.json").unlink()
        case "pickle":
            weights.rename(folder / "adapter_model.bin")
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-100])
        case _:
            (folder / "adapter_config.json").write_text("{")
    told = {
        "no config": "holds no adapter_config.json",
        "pickle": "pickles are not executed",
        "truncated": "not a readable safetensors file",
        "config is no json": "cannot be read as JSON",
    }
    assert told[kind] in refusal(tmp_path)
