"""D2F as it is published: a LoRA adapter of PEFT's over the q, k, v and output matrices of a denoising checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from models.shards import ADAPTER
from tests.engine.denoising.cases import requests
from tests.engine.drive import make_engine, run, tokens

RANK, ALPHA = 4, 8
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj")


def test_a_pipeline_with_an_adapter_says_what_merged_weights_say(dream: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    weights = load_file(dream / "model.safetensors")
    adapter: dict[str, torch.Tensor] = {}
    for name in [name for name in weights if name.split(".")[-2] in MODULES and name.endswith("weight")]:
        outputs, inputs = weights[name].shape
        a = torch.randn(RANK, inputs, generator=generator) * 0.3
        b = torch.randn(outputs, RANK, generator=generator) * 0.3
        module = f"base_model.model.{name.removesuffix('.weight')}"
        adapter |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
        weights[name] = weights[name] + (b @ a * (ALPHA / RANK)).double()
    assert len(adapter) == 2 * 2 * len(MODULES), "two layers, two factors"
    lora, merged = tmp_path / "lora", tmp_path / "merged"
    for folder in (lora, merged):
        folder.mkdir()
    save_file(adapter, lora / ADAPTER)
    described = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": list(MODULES)}
    (lora / "adapter_config.json").write_text(json.dumps(described))
    save_file(weights, merged / "model.safetensors")
    (merged / "config.json").write_text((dream / "config.json").read_text())

    asked = requests(7, seed=5)
    adapted = tokens(run(make_engine(dream, decoding="d2f", lora=str(lora)), asked))
    assert adapted == tokens(run(make_engine(merged, decoding="d2f"), asked))
    assert adapted != tokens(run(make_engine(dream, decoding="d2f"), asked))
