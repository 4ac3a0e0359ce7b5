"""Every way a checkpoint can be no use is one sentence that names the culprit."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.checkpoint import load_decoder
from models.errors import ModelError
from tests.models.checkpoints import change_config, change_weights, write_checkpoint
from tests.models.published import write_published

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "model")
    return tmp_path / "model"


def refusal(folder: Path) -> str:
    """The message of the error that loading raises, which must be one sentence."""
    with pytest.raises(ModelError) as caught:
        load_decoder(folder, torch.float32)
    message = str(caught.value)
    assert message.endswith(".")
    assert not re.search(r"[.!?]\s|\n", message), message
    return message


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "nowhere" in refusal(tmp_path / "nowhere")


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert "model.gguf" in refusal(tmp_path / "model.gguf")


def test_a_folder_without_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "no config.json" in refusal(folder)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1,}', "[" * 100_000, "null\x00"])
def test_a_config_that_is_no_json(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert "config.json cannot be read as JSON" in refusal(folder)


def test_a_config_that_is_no_text(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    assert "config.json cannot be read as JSON" in refusal(folder)


def test_a_config_that_is_no_object(folder: Path) -> None:
    (folder / "config.json").write_text("[1, 2]")
    assert "config.json must hold a JSON object" in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel"),
        ({"architectures": "GPT2LMHeadModel"}, "GPT2LMHeadModel"),
        ({"architectures": [], "model_type": "mamba"}, "mamba"),
        ({"architectures": ..., "model_type": ...}, "architectures"),
        ({"hidden_size": ...}, "hidden_size"),
        ({"hidden_size": "48"}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_attention_heads": -6}, "num_attention_heads"),
        ({"num_attention_heads": 5}, "5 query heads over 2 KV heads"),
        ({"head_dim": 7}, "head_dim 7"),
        ({"vocab_size": 10**12}, "vocab_size"),
        ({"max_position_embeddings": 10**9}, "1000000000 positions"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"attention_bias": "yes"}, "attention_bias"),
        ({"eos_token_id": "</s>"}, "eos_token_id"),
        ({"eos_token_id": [1, None]}, "eos_token_id"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "longrope"),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}}, "factor"),
        ({"rope_parameters": {"rope_type": ["yarn"]}}, "yarn"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": "4"}}, "factor"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 0}}, "rope_theta"),
        ({"rope_parameters": 7}, "rope_parameters"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"tidar": []}, "tidar"),
        ({"tidar": {"draft_length": 4}}, "mask_token_id"),
        ({"tidar": {"mask_token_id": 97, "draft_length": 4}}, "mask_token_id 97"),
        ({"tidar": {"mask_token_id": 5, "draft_length": 0}}, "draft_length"),
        ({"tidar": {"mask_token_id": 5, "draft_length": 4, "blocks": 3}}, "blocks"),
        ({"tidar": {"mask_token_id": 5, "draft_length": 4, "scheme": "medusa"}}, "medusa"),
        ({"tidar": {"mask_token_id": 5, "draft_length": 4, "shift": 1}}, "shift 1"),
    ],
)
def test_a_config_that_cannot_be_built(folder: Path, changes: dict[str, Any], culprit: str) -> None:
    change_config(folder, **changes)
    assert culprit in refusal(folder)


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 2**31 - 1}, {"intermediate_size": 2**31 - 1}])
def test_absurd_sizes_are_refused_before_anything_is_allocated(
    folder: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocated(*_: object) -> None:
        pytest.fail("the decoder was built")

    monkeypatch.setattr("models.checkpoint.Decoder", allocated)
    change_config(folder, **changes)
    message = refusal(folder)
    assert "model.layers.3." in message or "gate_proj" in message


def test_a_folder_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refusal(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_not_executed(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    message = refusal(folder)
    assert name in message
    assert "convert them to safetensors" in message


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _longer_header(data: bytes) -> bytes:
    return struct.pack("<Q", 2**40) + data[8:]


def _header_of(header: bytes) -> Callable[[bytes], bytes]:
    return lambda data: struct.pack("<Q", len(header)) + header


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "half": _cut,
    "one byte short": lambda data: data[:-1],
    "ends in the header": lambda data: data[:100],
    "ends in the length": lambda data: data[:5],
    "empty": lambda data: b"",
    "a pickle": lambda data: b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93.",
    "a zip, as torch.save writes": lambda data: b"PK\x03\x04" + bytes(200),
    "too long": lambda data: data + b"\x00" * 64,
    "header length lies": _longer_header,
    "header is no json": _header_of(b"not json"),
    "shape lies": _header_of(b'{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4]}}'),
    "offsets lie": _header_of(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 400]}}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_weights(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    message = refusal(folder)
    assert "model.safetensors is not a readable safetensors file" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_weights_without_permission(folder: Path) -> None:
    (folder / "model.safetensors").chmod(0)
    assert "model.safetensors" in refusal(folder)


def test_a_directory_in_place_of_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    assert "model.safetensors is not a readable" in refusal(folder)


def _drop(name: str) -> Callable[[dict[str, Tensor]], Any]:
    return lambda tensors: tensors.pop(name)


def _put(name: str, tensor: Tensor) -> Callable[[dict[str, Tensor]], Any]:
    return lambda tensors: tensors.update({name: tensor})


UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", UP, "model.norm.weight", "lm_head.weight"])
def test_a_missing_tensor_is_named(folder: Path, name: str) -> None:
    change_weights(folder, _drop(name))
    assert f"no tensor {name}" in refusal(folder)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder: Path) -> None:
    change_weights(folder, _put(UP, torch.zeros(48, 80)))
    message = refusal(folder)
    assert UP in message
    assert "[48, 80]" in message
    assert "[80, 48]" in message


@pytest.mark.parametrize(("dtype", "told"), [(torch.int8, "I8"), (torch.float8_e4m3fn, "F8_E4M3")])
def test_weights_that_are_no_floats_are_named(folder: Path, dtype: torch.dtype, told: str) -> None:
    change_weights(folder, _put(UP, torch.zeros(80, 48).to(dtype)))
    message = refusal(folder)
    assert UP in message
    assert told in message


def test_tensors_that_the_model_does_not_have_are_named(folder: Path) -> None:
    change_weights(folder, _put("model.layers.0.self_attn.q_proj.bias", torch.zeros(48)))
    assert "model.layers.0.self_attn.q_proj.bias, which" in refusal(folder)
    change_weights(folder, _put("model.layers.0.self_attn.sinks", torch.zeros(6)))
    assert "q_proj.bias and 1 more" in refusal(folder)


def test_rotary_buffers_that_exporters_write_are_harmless(folder: Path) -> None:
    change_weights(folder, _put("model.layers.0.self_attn.rotary_emb.inv_freq", torch.zeros(4)))
    load_decoder(folder, torch.float32)


def test_a_tied_checkpoint_may_repeat_its_embedding_but_not_hold_another_head(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, "llama tied")
    embedding = model.get_input_embeddings().weight.detach().clone()
    change_weights(tmp_path, _put("lm_head.weight", embedding))
    assert load_decoder(tmp_path, torch.float32).head is None
    change_weights(tmp_path, _put("lm_head.weight", embedding + 1))
    assert "tie_word_embeddings" in refusal(tmp_path)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "model", shard_size="40KB")
    return tmp_path / "model"


def test_a_missing_shard_is_named(sharded: Path) -> None:
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.unlink()
    assert shard.name in refusal(sharded)


def test_a_truncated_shard_is_named(sharded: Path) -> None:
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-4])
    assert shard.name in refusal(sharded)


def test_a_tensor_in_two_shards_is_named(sharded: Path) -> None:
    first, second = sorted(sharded.glob("*.safetensors"))[:2]
    second.write_bytes(first.read_bytes())
    message = refusal(sharded)
    assert first.name in message
    assert second.name in message


@pytest.mark.parametrize(
    "file",
    ["../secret.safetensors", "/etc/secret.safetensors", "sub/secret.safetensors", "..\\secret.safetensors", "..", 7],
)
def test_a_shard_index_cannot_reach_outside_its_folder(sharded: Path, file: Any) -> None:
    path = sharded / INDEX
    index = json.loads(path.read_text())
    index["weight_map"][UP] = file
    path.write_text(json.dumps(index))
    message = refusal(sharded)
    assert UP in message
    assert repr(file) in message


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_a_shard_index_without_a_map(sharded: Path, text: str) -> None:
    (sharded / INDEX).write_text(text)
    assert INDEX in refusal(sharded)


@pytest.mark.parametrize(
    ("family", "changes", "culprit"),
    [
        ("LLaDA", {"d_model": ...}, "d_model"),
        ("LLaDA", {"d_model": [48]}, "d_model"),
        ("LLaDA", {"n_layers": -1}, "n_layers"),
        ("LLaDA", {"n_heads": 10**12}, "n_heads"),
        ("LLaDA", {"n_kv_heads": 4}, "6 query heads over 4 KV heads"),
        ("LLaDA", {"mlp_hidden_size": None}, "mlp_hidden_size"),
        ("LLaDA", {"embedding_size": "97"}, "embedding_size"),
        ("LLaDA", {"max_sequence_length": 10**9}, "1000000000 positions"),
        ("LLaDA", {"weight_tying": "no"}, "weight_tying"),
        ("LLaDA", {"block_type": "sequential"}, "block_type"),
        ("LLaDA", {"block_type": ...}, "block_type"),
        ("LLaDA", {"layer_norm_type": ["rms"]}, "layer_norm_type"),
        ("LLaDA", {"rope": 1}, "rope"),
        ("LLaDA", {"alibi": True}, "alibi"),
        ("LLaDA", {"activation_type": "swiglu"}, "activation_type"),
        ("LLaDA", {"activation_type": {}}, "activation_type"),
        ("LLaDA", {"mask_token_id": "<mask>"}, "mask_token_id"),
        ("LLaDA", {"mask_token_id": 97}, "mask_token_id 97"),
        ("LLaDA", {"architectures": ["LLaDA2MoeModelLM"]}, "mixtures of experts"),
        ("LLaDA", {"architectures": [["LLaDAModelLM"]]}, "architectures"),
        ("Dream", {"mask_token_id": -1}, "mask_token_id"),
        ("SDLM", {"text_mask_token_id": 9.5}, "text_mask_token_id"),
        ("SDLM", {"text_mask_token_id": 10**9}, "mask_token_id 1000000000"),
        ("SDLM", {"block_size": 0}, "block_size"),
        ("SDLM", {"block_size": True}, "block_size"),
        ("SDAR", {"block_size": "4"}, "block_size"),
        ("I-DLM", {"use_regular_causal": "yes"}, "use_regular_causal"),
        ("Nemotron-Labs-Diffusion", {"mask_token_id": -1}, "mask_token_id"),
        ("Nemotron-Labs-Diffusion", {"block_size": 2**40}, "block_size"),
        ("Nemotron-Labs-Diffusion", {"rope_parameters": ...}, "llama_4_scaling_beta"),
        ("Nemotron-Labs-Diffusion", {"rope_parameters": {"llama_4_scaling_beta": "0.1"}}, "llama_4_scaling_beta"),
        ("Nemotron-Labs-Diffusion", {"rope_parameters": {"llama_4_scaling_beta": 10**400}}, "llama_4_scaling_beta"),
        ("Nemotron-Labs-Diffusion", {"tidar": {"mask_token_id": 1, "draft_length": 4, "scheme": ["x"]}}, "scheme"),
        ("Nemotron-Labs-Diffusion", {"tidar": {"mask_token_id": 1, "draft_length": 4, "shift": True}}, "shift True"),
    ],
)
def test_a_published_config_that_cannot_be_built(
    tmp_path: Path, family: str, changes: dict[str, Any], culprit: str
) -> None:
    write_published(tmp_path, family)
    change_config(tmp_path, **changes)
    assert culprit in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        (..., "text_config"),
        ([], "text_config"),
        ({}, "text_config"),
        ({"model_type": "mistral"}, "num_attention_heads"),
        ({"model_type": "gemma3"}, "gemma3"),
        ({"model_type": ["mistral"]}, "text_config.model_type"),
    ],
)
def test_a_text_section_that_is_no_use(folder: Path, text: Any, culprit: str) -> None:
    change_config(folder, architectures=["Mistral3ForConditionalGeneration"], text_config=text)
    assert culprit in refusal(folder)


@pytest.mark.parametrize("family", ["LLaDA", "Nemotron-Labs-Diffusion"])
def test_tensors_under_other_names_than_the_familys_are_named(tmp_path: Path, family: str) -> None:
    write_published(tmp_path, family)
    change_weights(tmp_path, lambda tensors: tensors.update({"lm_head.weight": torch.zeros(97, 48)}))
    assert "lm_head.weight, which" in refusal(tmp_path)
    change_weights(tmp_path, lambda tensors: [tensors.pop(name) for name in list(tensors) if "layers.1" in name])
    change_weights(tmp_path, lambda tensors: [tensors.pop(name) for name in list(tensors) if "blocks.1" in name])
    assert "no tensor" in refusal(tmp_path)


def test_an_end_token_that_is_none_in_generation_config(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"eos_token_id": "</s>"}')
    assert "eos_token_id" in refusal(folder)
