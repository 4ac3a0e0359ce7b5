"""Text to ids and back, as the checkpoint's own tokenizer has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from models.errors import ModelError, PromptError
from models.tokenizer import Tokenizer
from tests.models import tokenizers_on_disk

TEXTS = ["", " ", "def add(a, b):\n    return a + b", "<|bos|>hello<|end|>", "naïve 狐狐 🦊🇩🇪\x00", "<tool>x</tool>"]


@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_text_are_those_of_transformers(byte_level_folder: Path, byte_level: Tokenizer, text: str) -> None:
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(byte_level_folder / "tokenizer.json"))
    assert byte_level.encode(text) == theirs.encode(text)
    for skip in (True, False):
        expected = theirs.decode(theirs.encode(text), skip_special_tokens=skip)
        assert byte_level.decode(byte_level.encode(text), skip_special_tokens=skip) == expected


def test_special_tokens_are_added_unless_told_otherwise(tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    fast = tokenizers_on_disk.byte_level()
    bos = fast.token_to_id("<|bos|>")
    fast.post_processor = TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", bos)])
    tokenizer = Tokenizer.from_folder(tokenizers_on_disk.write(tmp_path, fast))
    assert tokenizer.encode("a") == [bos, *tokenizer.encode("a", add_special_tokens=False)]


def test_padding_and_truncation_saved_for_training_are_ignored(tmp_path: Path) -> None:
    fast = tokenizers_on_disk.byte_level()
    fast.enable_truncation(4)
    fast.enable_padding(length=4)
    tokenizer = Tokenizer.from_folder(tokenizers_on_disk.write(tmp_path, fast))
    assert len(tokenizer.encode("x" * 50)) > 4
    assert len(tokenizer.encode("x")) == 1


def test_half_a_surrogate_pair_is_refused_with_its_place(byte_level: Tokenizer) -> None:
    with pytest.raises(PromptError, match="character 3"):
        byte_level.encode("abc\ud83d")


def test_roles_and_end_tokens_come_from_every_file_that_names_them(tmp_path: Path) -> None:
    fast = tokenizers_on_disk.byte_level()
    tokenizers_on_disk.write(tmp_path, fast, eos_token={"content": "<|end|>"}, pad_token=None)
    (tmp_path / "special_tokens_map.json").write_text('{"bos_token": "<|bos|>", "eos_token": "<|bos|>"}')
    (tmp_path / "config.json").write_text('{"eos_token_id": 7}')
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.special_tokens == {"bos_token": "<|bos|>", "eos_token": "<|end|>"}
    assert tokenizer.bos_token_id == fast.token_to_id("<|bos|>")
    assert tokenizer.eos_token_ids == (7, 9, fast.token_to_id("<|end|>"))


def test_sizes_and_special_ids(byte_level: Tokenizer, sentencepiece: Tokenizer) -> None:
    assert byte_level.vocab_size == 1 + (byte_level.token_id("狐狐") or 0)
    assert {byte_level.token_text(token) for token in byte_level.special_ids} == {"<|bos|>", "<|end|>", "<|mask|>"}
    assert {sentencepiece.token_text(token) for token in sentencepiece.special_ids} == {"<unk>", "<s>", "</s>"}


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(kind)
    text = "naïve 狐\n🦊 fox\ufffd"
    spelled = b"".join(tokenizer.token_bytes(token) for token in tokenizer.encode(text))
    assert spelled.decode() == (f" {text}" if kind == "sentencepiece" else text)


def test_part_of_a_character_is_shown_as_a_replacement(byte_level: Tokenizer) -> None:
    first = byte_level.encode("🦩")[0]
    assert not byte_level.token_bytes(first).decode(errors="ignore")
    assert byte_level.token_text(first) == "\ufffd"


def test_ids_beyond_the_vocabulary_are_no_text(byte_level: Tokenizer) -> None:
    assert byte_level.token_bytes(100_000) == b""
    assert byte_level.decode([*byte_level.encode("a"), 100_000]) == "a"
    assert byte_level.detokenizer().push([100_000]) == ""


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        Tokenizer.from_folder(tmp_path / "nowhere")


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(ModelError, match=r"holds no tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"model": {"type": "Magic"}}'])
def test_a_broken_tokenizer_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match=r"tokenizer\.json is not a readable tokenizer"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json"])
def test_a_broken_file_beside_the_tokenizer_is_named(tmp_path: Path, name: str) -> None:
    tokenizers_on_disk.write(tmp_path, tokenizers_on_disk.byte_level())
    (tmp_path / name).write_text("{")
    with pytest.raises(ModelError, match=name):
        Tokenizer.from_folder(tmp_path)


def test_the_tokenizer_needs_neither_torch_nor_transformers() -> None:
    """The API process imports it at start-up."""
    code = "import sys, models.tokenizer; print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
