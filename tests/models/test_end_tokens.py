"""A text ends at every end token that any of a checkpoint's files names, for the engine as for the tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.config import ModelConfig
from models.errors import ModelError
from models.tokenizer import Tokenizer
from tests.models import tokenizers_on_disk
from tests.models.checkpoints import change_config, write_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    change_config(tmp_path, eos_token_id=None)
    return tmp_path


def both(folder: Path) -> set[int]:
    """The end tokens, on which config and tokenizer must agree."""
    ids = set(ModelConfig.from_folder(folder).eos_token_ids)
    assert ids == set(Tokenizer.from_folder(folder).eos_token_ids)
    return ids


@pytest.mark.parametrize("named", ["<|end|>", {"content": "<|end|>", "special": True}])
def test_one_that_only_tokenizer_config_names_counts(folder: Path, named: Any) -> None:
    fast = tokenizers_on_disk.byte_level()
    tokenizers_on_disk.write(folder, fast, eos_token=named)
    assert both(folder) == {fast.token_to_id("<|end|>")}


def test_one_that_only_special_tokens_map_names_counts(folder: Path) -> None:
    fast = tokenizers_on_disk.byte_level()
    tokenizers_on_disk.write(folder, fast)
    (folder / "special_tokens_map.json").write_text('{"eos_token": "<|end|>"}')
    assert both(folder) == {fast.token_to_id("<|end|>")}


def test_one_that_is_an_ordinary_word_of_the_vocabulary_counts(folder: Path) -> None:
    fast = tokenizers_on_disk.byte_level()
    tokenizers_on_disk.write(folder, fast, eos_token="a")
    assert both(folder) == {fast.token_to_id("a")}


def test_it_joins_those_of_the_other_files(folder: Path) -> None:
    fast = tokenizers_on_disk.byte_level()
    tokenizers_on_disk.write(folder, fast, eos_token="<|end|>")
    change_config(folder, eos_token_id=7)
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    assert both(folder) == {7, 9, fast.token_to_id("<|end|>")}


@pytest.mark.parametrize("named", ["<|nobody|>", None, 7, ["<|end|>"], {"content": 5}])
def test_one_that_the_tokenizer_does_not_hold_is_none(folder: Path, named: Any) -> None:
    tokenizers_on_disk.write(folder, tokenizers_on_disk.byte_level(), eos_token=named)
    assert both(folder) == set()


@pytest.mark.parametrize(
    "tokenizer",
    [
        {"added_tokens": {"<|end|>": 1}, "model": []},
        {"added_tokens": [["<|end|>", 1]], "model": {"vocab": [["<|end|>", 0.0]]}},
        {"added_tokens": [{"id": "1", "content": "<|end|>"}]},
        {"added_tokens": [{"id": True, "content": "<|end|>"}], "model": {"vocab": {"<|end|>": [1]}}},
    ],
)
def test_a_tokenizer_that_lies_about_its_form_names_none(folder: Path, tokenizer: dict[str, Any]) -> None:
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert ModelConfig.from_folder(folder).eos_token_ids == ()


@pytest.mark.parametrize("file", ["tokenizer_config.json", "tokenizer.json"])
def test_a_file_that_is_no_json_is_named(folder: Path, file: str) -> None:
    tokenizers_on_disk.write(folder, tokenizers_on_disk.byte_level(), eos_token="<|end|>")
    (folder / file).write_text("{")
    with pytest.raises(ModelError, match=file):
        ModelConfig.from_folder(folder)
