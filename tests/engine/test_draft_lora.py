"""LoRA on drafting rows alone: other drafts, equal tokens, and the drafts are those of merged weights in these rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.errors import EngineError
from models.checkpoint import load_decoder
from models.decoder import Decoder
from models.errors import ModelError
from tests.engine.drive import endings, make_engine, request, run
from tests.engine.reference import MaskedAttention
from tests.engine.test_reference import LENGTH, as_far_as_wanted, observed_steps
from tests.engine.test_schemes import REFERENCES
from tests.engine.tiny import MASK, save_random
from tests.engine.tiny_schemes import SCHEMES, save_learned_scheme
from tests.engine.workload import prompts, workload

every_scheme = pytest.mark.parametrize("scheme", SCHEMES)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints with a PEFT folder inside."""
    folders = {}
    for name in SCHEMES:
        folders[name] = save_learned_scheme(tmp_path_factory.mktemp("checkpoints") / name, name, steps=60)
        write_lora(folders[name] / "draft_lora", seed=1)
    return folders


def write_lora(folder: Path, seed: int) -> None:
    """Random factors for some of the linear layers of a tiny model, under PEFT's names."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj", "up_proj", "o_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(seed)
    sizes = {"self_attn.q_proj": (32, 32), "self_attn.v_proj": (32, 16), "mlp.up_proj": (32, 64)}
    tensors = {}
    for layer in range(2):
        for module, (inputs, outputs) in {**sizes, "self_attn.o_proj": (32, 32)}.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(3, inputs, generator=generator) * 0.3
            tensors[f"{name}.lora_B.weight"] = torch.randn(outputs, 3, generator=generator) * 0.3
    save_file(tensors, folder / "adapter_model.safetensors")


class TwoLinears(nn.Module):
    """One weight for rows that verify, another for those from `first` on."""

    first = 0

    def __init__(self, base: nn.Module, merged: nn.Module) -> None:
        super().__init__()
        self.base, self.merged = base, merged

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return torch.cat([self.base(x, residual)[: self.first], self.merged(x, residual)[self.first :]])


class TwoWeights(Decoder):
    """A decoder whose rows that draft run merged weights; those are the ones behind the causal rows of the mask."""

    def forward(self, token_ids: Tensor, positions: Tensor, attention: Any, tap: Any = None) -> Tensor:
        assert isinstance(attention, MaskedAttention)
        # clean rows stand at positions 0, 1, 2, ...; what drafts comes behind a repeated position, or holds a mask
        drafts = (positions != torch.arange(len(positions))) | (token_ids == MASK)
        TwoLinears.first = int(drafts.nonzero()[0]) if drafts.any() else len(token_ids)
        return super().forward(token_ids, positions, attention)


def two_weights(folder: Path) -> Decoder:
    base, merged = (load_decoder(folder, torch.float64, lora=lora) for lora in (None, folder / "draft_lora"))
    for ours, other in zip(base.layers, merged.layers, strict=True):
        for name in ("qkv", "output", "gate_up", "down"):
            setattr(ours, name, TwoLinears(getattr(ours, name), getattr(other, name)))
    base.__class__ = TwoWeights
    return base


@every_scheme
def test_drafts_are_those_of_merged_weights_and_tokens_those_of_the_base(learnt: dict[str, Path], scheme: str) -> None:
    decoder = two_weights(learnt[scheme])
    changed = False
    for index, prompt in enumerate(prompts(3, longest=20)):
        asked = request(f"{index}", prompt, max_tokens=LENGTH, ignore_eos=True)
        engine = make_engine(learnt[scheme], draft_length=4, predrafts="full", draft_lora="draft_lora")
        expected = REFERENCES[scheme](decoder, MASK, asked, 0, 4, (1, 2, 3, 4)).steps(LENGTH)
        steps = observed_steps(engine, asked)
        assert steps == as_far_as_wanted(expected, 4)
        plain = observed_steps(make_engine(learnt[scheme], draft_length=4, predrafts="full"), asked)
        assert [t for step in steps for t in step.tokens] == [t for step in plain for t in step.tokens]
        changed |= steps != plain
    assert changed, "the LoRA changed no draft"


@every_scheme
def test_in_a_batch_too_it_changes_no_token(learnt: dict[str, Path], scheme: str) -> None:
    expected = endings(run(make_engine(learnt[scheme], decoding="ar"), workload(10)))
    engine = make_engine(
        learnt[scheme], draft_lora=str(learnt[scheme] / "draft_lora"), predrafts="auto", max_num_batched_tokens=80
    )
    assert endings(run(engine, workload(10))) == expected


def test_for_tidar_windows_it_gates_the_masks(learned: Path, tmp_path: Path) -> None:
    write_lora(tmp_path / "lora", seed=2)
    expected = endings(run(make_engine(learned, decoding="ar"), workload(10)))
    engine = make_engine(learned, draft_lora=str(tmp_path / "lora"), predrafts="full")
    assert endings(run(engine, workload(10))) == expected


def test_where_nothing_drafts_or_the_folder_is_none_it_is_refused(learned: Path, tmp_path: Path) -> None:
    write_lora(tmp_path / "lora", seed=2)
    plain = save_random(tmp_path / "plain", drafts=False)
    with pytest.raises(EngineError, match="for models that draft"):
        make_engine(plain, draft_lora=str(tmp_path / "lora"))
    with pytest.raises(EngineError, match="--adapter"):
        make_engine(learned, draft_lora=str(tmp_path / "lora"), adapter=str(tmp_path / "lora"))
    with pytest.raises(EngineError, match="--async-scheduling"):
        make_engine(learned, draft_lora=str(tmp_path / "lora"), async_scheduling=True)
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        make_engine(learned, draft_lora=str(tmp_path))
    assert make_engine(learned, decoding="ar", draft_lora=str(tmp_path / "nowhere")).ready().decoding == "ar"
