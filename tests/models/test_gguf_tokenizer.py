"""The tokenizer that a GGUF file's metadata describe cuts, frames and joins texts as the one they were written from."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from gguf import GGUFWriter
from tokenizers import Regex, pre_tokenizers

from models.errors import ModelError
from models.gguf.tokenizer import SPLITS, fast_tokenizer
from models.tokenizer import Tokenizer
from tests.models import tokenizers_on_disk
from tests.models.gguf_files import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, add, tokenizer_entries

TEXTS = [
    "Hello, world!",
    "  def add(a, b):\n\treturn a+b  \n\n",
    "12345 and 3.14",
    "déjà vu über Straße",
    "🙂 日本語 text",
    "I'LL they're",
    "",
    " ",
]


def write(path: Path, entries: dict[str, Any]) -> Path:
    writer = GGUFWriter(str(path), "llama")
    for key, value in entries.items():
        add(writer, key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def byte_level_entries(**more: Any) -> dict[str, Any]:
    fast = tokenizers_on_disk.byte_level()
    special = {token: CONTROL for token, entry in fast.get_added_tokens_decoder().items() if entry.special}
    return tokenizer_entries(fast, "gpt-2", special) | more


def test_a_byte_level_tokenizer_comes_back(tmp_path: Path) -> None:
    original = tokenizers_on_disk.byte_level()
    ours = Tokenizer.from_folder(write(tmp_path / "t.gguf", byte_level_entries()))
    for text in [*TEXTS, "a<|end|>b"]:
        assert ours.encode(text) == original.encode(text).ids, text
        assert ours.decode(ours.encode(text), skip_special_tokens=False) == text
    assert ours.vocab_size == original.get_vocab_size()


def test_roles_ends_and_templates_come_from_the_metadata(tmp_path: Path) -> None:
    end = tokenizers_on_disk.byte_level().token_to_id("<|end|>")
    more = {
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.ggml.eot_token_id": 7,
        "tokenizer.ggml.bos_token_id": 5,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": "{{ bos_token }}{{ messages[0]['content'] }}{{ eos_token }}",
        "tokenizer.chat_template.tool_use": "tools: {{ messages[0]['content'] }}",
    }
    ours = Tokenizer.from_folder(write(tmp_path / "t.gguf", byte_level_entries(**more)))
    assert ours.eos_token_ids == (end, 7)
    assert ours.bos_token_id == 5
    assert ours.encode("hi")[0] == 5
    assert ours.encode("hi", add_special_tokens=False)[0] != 5
    message = [{"role": "user", "content": "hi"}]
    assert ours.apply_chat_template(message) == f"{ours.special_tokens['bos_token']}hi<|end|>"
    assert ours.tool_template is not None
    assert ours.tool_template.render(message, False, {}) == "tools: hi"


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("llama-bpe", ["I", "'ll", " take", " ", "123", "456", "!!\n\n", "  ", " camelCase"]),
        ("qwen2", ["I", "'ll", " take", " ", *"123456", "!!\n\n", "  ", " camelCase"]),
        ("tekken", ["I", "'ll", " take", " ", *"123456", "!!\n\n", "  ", " camel", "Case"]),
    ],
)
def test_texts_are_cut_as_the_models_cut_them(pre: str, pieces: list[str]) -> None:
    split = pre_tokenizers.Split(Regex(SPLITS[pre]), "isolated")
    assert [piece for piece, _ in split.pre_tokenize_str("".join(pieces))] == pieces


def test_sentencepiece_scores_become_the_same_merges(tmp_path: Path) -> None:
    """Pieces are joined best score first, spaces are ▁, and what is no piece is spelled in bytes."""
    pieces = ["▁", "l", "o", "w", "e", "r", "lo", "low", "er", "▁low", "▁lower"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(pieces)]
    scores = [0.0] * 259 + [-1000.0] * 6 + [-1.0, -2.0, -3.0, -4.0, -5.0]
    entries = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    ours = Tokenizer.from_folder(write(tmp_path / "t.gguf", entries))
    spell = {token: index for index, token in enumerate(tokens)}
    assert ours.encode("lower lower") == [1, spell["▁lower"], spell["▁lower"]]
    assert ours.encode("low", add_special_tokens=False) == [spell["▁low"]]
    assert ours.encode("é", add_special_tokens=False) == [spell["▁"], spell["<0xC3>"], spell["<0xA9>"]]
    for text in ("low lower", "é wo", "  e"):
        assert ours.decode(ours.encode(text)) == text
        stream = ours.detokenizer()
        assert "".join([stream.push([token]) for token in ours.encode(text)]) + stream.flush() == text
    bare = Tokenizer.from_folder(write(tmp_path / "b.gguf", {**entries, "tokenizer.ggml.add_space_prefix": False}))
    assert bare.encode("low", add_special_tokens=False) == [spell["low"]]


def test_unused_tokens_stand_for_nothing_and_users_own_are_whole(tmp_path: Path) -> None:
    entries = byte_level_entries()
    entries["tokenizer.ggml.tokens"] += ["[PAD1]", "<think>"]
    entries["tokenizer.ggml.token_type"] += [UNUSED, USER_DEFINED]
    ours = Tokenizer.from_folder(write(tmp_path / "t.gguf", entries))
    think = len(entries["tokenizer.ggml.tokens"]) - 1
    assert ours.token_id("[PAD1]") is None
    assert ours.encode("<think>") == [think]
    assert think not in ours.special_ids


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tokenizer.ggml.model": "bert"}, "kind 'bert'"),
        ({"tokenizer.ggml.model": None}, "kind None"),
        ({"tokenizer.ggml.tokens": [1, 2]}, "no list of texts for tokenizer.ggml.tokens"),
        ({"tokenizer.ggml.merges": None}, "no list of texts for tokenizer.ggml.merges"),
        ({"tokenizer.ggml.merges": ["a b c"]}, "that is no pair"),
        ({"tokenizer.ggml.merges": ["zzzz yyyy"]}, "cannot be built"),
        ({"tokenizer.ggml.token_type": [1]}, "not as many entries"),
        ({"tokenizer.ggml.pre": "mystery"}, "the rule 'mystery'"),
        ({"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 10**6}, "outside the vocabulary"),
        ({"tokenizer.chat_template": 7}, "no text for tokenizer.chat_template"),
        ({"tokenizer.chat_template": "{% if %}"}, "not valid Jinja"),
    ],
)
def test_metadata_that_make_no_tokenizer_are_one_sentence(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    entries = {**byte_level_entries(), **changes}
    with pytest.raises(ModelError) as caught:
        Tokenizer.from_folder(write(tmp_path / "t.gguf", entries))
    message = str(caught.value)
    assert told in message
    assert message.endswith(".")
    assert not re.search(r"\n", message)


def test_a_token_twice_is_refused(tmp_path: Path) -> None:
    entries = byte_level_entries()
    entries["tokenizer.ggml.tokens"][5] = entries["tokenizer.ggml.tokens"][4]
    with pytest.raises(ModelError, match="a token twice"):
        fast_tokenizer(write(tmp_path / "t.gguf", entries))


def test_a_template_cannot_reach_out_of_its_sandbox(tmp_path: Path) -> None:
    escape = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    ours = Tokenizer.from_folder(write(tmp_path / "t.gguf", byte_level_entries(**{"tokenizer.chat_template": escape})))
    with pytest.raises(ModelError, match="does not take these messages"):
        ours.apply_chat_template([{"role": "user", "content": "hi"}])


def test_a_tokenizer_needs_no_more_than_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "t.gguf", byte_level_entries())
    assert isinstance(fast_tokenizer(path), tokenizers.Tokenizer)
    assert struct.unpack("<Q", path.read_bytes()[8:16]) == (0,)
