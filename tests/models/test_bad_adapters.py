"""Adapters that are broken, hostile or another model's: refused with one sentence that names the trouble."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from models.adapter import storage
from models.adapter.config import AdapterConfig
from models.checkpoint import load_decoder, save_decoder
from models.errors import ModelError
from tests.engine.adapters import save_random_adapter
from tests.engine.tiny import random_decoder, save_random, tiny_config
from tests.models.checkpoints import change_weights


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random(tmp_path_factory.mktemp("base"), "LlamaForCausalLM", drafts=False)


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    return save_random_adapter(tmp_path / "adapter", base)


def refusal(adapter: Path, base: Path) -> str:
    with pytest.raises(ModelError) as caught:
        storage.read_tensors(AdapterConfig.read(adapter), load_decoder(base, torch.float64))
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


def change(adapter: Path, **changes: Any) -> None:
    """Lay `changes` over adapter.json."""
    path = adapter / "adapter.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_was_saved_comes_back(base: Path, adapter: Path) -> None:
    decoder = load_decoder(base, torch.float64)
    tensors = storage.read_tensors(AdapterConfig.read(adapter), decoder)
    storage.apply(decoder, tensors)
    assert all(tensors[name].equal(parameter) for name, parameter in storage.parameters(decoder).items())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "peft"}, "not 'tidar-adapter'"),
        ({"rank": 0}, "rank"),
        ({"rank": True}, "rank"),
        ({"rank": 2**40}, "rank"),
        ({"rank": 5000}, "at most 1024"),
        ({"rank": 4}, "has shape"),
        ({"draft_length": 1}, "between 2 and 64"),
        ({"draft_length": 65}, "between 2 and 64"),
        ({"draft_length": 5}, "has shape"),
        ({"base": None}, "base.embedding"),
        ({"base": []}, "base"),
        ({"base": {"embedding": [1.0]}}, "base.embedding"),
        ({"base": {"embedding": [10**400] * 16}}, "base.embedding"),
        ({"base": {"embedding": [1.0] * 16}}, "vocab_size"),
    ],
)
def test_a_config_that_no_adapter_has(base: Path, adapter: Path, changes: dict[str, Any], says: str) -> None:
    change(adapter, **changes)
    assert says in refusal(adapter, base)


def test_a_folder_without_an_adapter(base: Path, tmp_path: Path) -> None:
    assert "holds no adapter.json" in refusal(base, base)
    assert "holds no adapter.json" in refusal(tmp_path / "nowhere", base)


def test_a_config_that_is_no_json(base: Path, adapter: Path) -> None:
    (adapter / "adapter.json").write_text("[" * 100_000)
    assert "cannot be read as JSON" in refusal(adapter, base)


def test_a_model_of_other_sizes(base: Path, adapter: Path, tmp_path: Path) -> None:
    other = save_random(tmp_path / "other", "Qwen3ForCausalLM", drafts=False)
    change(adapter, base={**json.loads((adapter / "adapter.json").read_text())["base"], "num_layers": 3})
    assert "num_layers 3" in refusal(adapter, other)


def test_another_model_of_the_same_sizes(adapter: Path, tmp_path: Path) -> None:
    other = random_decoder(tiny_config("LlamaForCausalLM", drafts=False), seed=1)
    save_decoder(other, tmp_path / "other", torch.float64, {})
    assert "another model of the same sizes" in refusal(adapter, tmp_path / "other")


def test_a_coarser_copy_of_the_model_is_the_model(base: Path, adapter: Path) -> None:
    config = AdapterConfig.read(adapter)
    assert storage.read_tensors(config, load_decoder(base, torch.bfloat16))


def test_weights_that_are_cut_short(base: Path, adapter: Path) -> None:
    path = adapter / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "may be truncated" in refusal(adapter, base)


def test_weights_with_a_tensor_too_many_or_too_few(base: Path, adapter: Path) -> None:
    change_weights(adapter, lambda tensors: tensors.update(extra=torch.zeros(1)))
    assert "extra" in refusal(adapter, base)
    change_weights(adapter, lambda tensors: (tensors.pop("extra"), tensors.pop("mask")))
    assert "mask" in refusal(adapter, base)


def test_weights_that_are_no_floats(base: Path, adapter: Path) -> None:
    change_weights(adapter, lambda tensors: tensors.update(mask=tensors["mask"].int()))
    assert "only float weights" in refusal(adapter, base)


def test_weights_that_are_no_numbers(base: Path, adapter: Path) -> None:
    """A NaN on mask rows would only lose drafts, but it is a broken file all the same."""
    change_weights(adapter, lambda tensors: tensors["mask"].fill_(torch.nan))
    assert "not finite" in refusal(adapter, base)


def test_pickles_are_not_opened(base: Path, adapter: Path) -> None:
    (adapter / "model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps({"mask": 1}))
    assert "pickles are not executed" in refusal(adapter, base)
