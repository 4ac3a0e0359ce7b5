"""`tidar inspect`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models.shards import Shards
from server.cli import app
from tests.models.checkpoints import change_config, write_checkpoint
from tests.models.published import PUBLISHED, write_published


def inspect(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["inspect", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_family_is_recognised(tmp_path: Path, name: str) -> None:
    write_published(tmp_path, name)
    family = PUBLISHED[name]
    told = json.loads(inspect(str(tmp_path), "--json"))
    drafts = (told["scheme"], told["shift"], told["mask_token_id"], told["draft_length"])
    assert drafts == (family.scheme, family.shift, family.mask_token_id, family.draft_length)
    text = inspect(str(tmp_path))
    assert told["architecture"] in text
    assert f"{family.mask_token_id}, which predicts {'the next' if family.shift else 'its own'} position" in text


def test_the_figures_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, "qwen3")
    told: dict[str, Any] = json.loads(inspect(str(tmp_path), "--json"))
    parameters = sum(p.numel() for p in model.parameters())
    kv_per_token = 2 * 3 * 2 * 16 * 4  # K and V, layers, heads, width, float32
    assert told["family"] == "qwen3" and told["scheme"] is None
    assert told["parameters"] == parameters
    assert told["file_bytes"] == (tmp_path / "model.safetensors").stat().st_size
    memory = told["memory"]
    assert memory["kv_bytes_per_token"] == kv_per_token
    assert memory["weights"] == parameters * 4
    assert memory["one_full_context"] == 256 * kv_per_token
    assert memory["default_pool"] == 64 * 256 * kv_per_token  # as many contexts as sequences run at once
    assert memory["total"] == sum(memory[part] for part in ("weights", "rotary_tables", "default_pool"))
    text = inspect(str(tmp_path))
    assert f"{parameters:,} in" in text and f"{kv_per_token} bytes per token" in text and "none: plain AR" in text


def test_a_dtype_and_a_shorter_context_change_what_is_needed(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    whole, less = (
        json.loads(inspect(str(tmp_path), "--json", *flags))
        for flags in ((), ("--dtype", "bfloat16", "--max-model-len", "128"))
    )
    assert less["memory"]["kv_bytes_per_token"] * 2 == whole["memory"]["kv_bytes_per_token"]
    assert less["memory"]["one_full_context"] * 4 == whole["memory"]["one_full_context"]
    assert less["max_model_len"] == 128


def test_a_context_that_the_default_pool_cannot_hold_is_told_with_the_way_out(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    change_config(tmp_path, max_position_embeddings=2**20)
    told = json.loads(inspect(str(tmp_path), "--json"))
    assert told["memory"]["served_context"] == told["memory"]["default_pool"] // told["memory"]["kv_bytes_per_token"]
    assert told["memory"]["served_context"] < told["max_model_len"] == 2**20
    assert f"--kv-cache-memory-bytes {told['memory']['one_full_context']}" in inspect(str(tmp_path))


def test_adapters_beside_the_weights_are_listed(tmp_path: Path) -> None:
    write_published(tmp_path, "Nemotron-Labs-Diffusion")
    (tmp_path / "linear_spec_lora").mkdir()
    (tmp_path / "linear_spec_lora/adapter_config.json").write_text("{}")
    assert "linear_spec_lora" in inspect(str(tmp_path))


def test_no_weight_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        pytest.fail("a weight was read")

    write_checkpoint(tmp_path, shard_size="40KB")
    monkeypatch.setattr(Shards, "tensor", read)
    monkeypatch.setattr(Shards, "pieces", read)
    assert json.loads(inspect(str(tmp_path), "--json"))["file_bytes"] > 40_000


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [({"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM"), ({"num_hidden_layers": 9}, "model.layers.3.")],
)
def test_what_cannot_be_loaded_is_told_in_a_sentence(tmp_path: Path, changes: dict[str, Any], culprit: str) -> None:
    write_checkpoint(tmp_path)
    change_config(tmp_path, **changes)
    result = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert result.exit_code == 1
    assert culprit in result.output and "Traceback" not in result.output


def test_the_shipped_model_is_inspected_where_none_is_named() -> None:
    assert "tidar-python-5m" in inspect()
