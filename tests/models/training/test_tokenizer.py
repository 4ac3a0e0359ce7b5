"""The tokenizer: special tokens first, every byte back, indentation by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from models.errors import ModelError
from models.training.chat_pairs import chat_pairs
from models.training.data import copy_tokenizer
from models.training.tokenizer_training import SPECIAL, encode_documents, sample, save_tokenizer, train_tokenizer
from tests.models.training.tiny import SHIPPED

CODE = (
    'def add(first, second):\n    """Add two numbers.\n\n    Both are integers.\n    """\n    total = first + second\n'
)
CODE += "    if total > 10:\n        return 10\n    return total\n"


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train_tokenizer([CODE] * 20, 300)


def test_special_tokens_have_the_first_ids_and_the_size_is_exact(trained: Tokenizer) -> None:
    assert [trained.token_to_id(token) for token in SPECIAL] == [0, 1, 2, 3]
    assert trained.get_vocab_size() == 300


@pytest.mark.parametrize("text", [CODE, "x\r\n\ty = 'é 漢 🙂'\x00", "  \n\n   ", ""])
def test_every_byte_comes_back(trained: Tokenizer, text: str) -> None:
    assert trained.decode(trained.encode(text).ids) == text


def test_the_shipped_tokenizer_is_one_of_these() -> None:
    shipped = Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))
    assert [shipped.token_to_id(token) for token in SPECIAL] == [0, 1, 2, 3]
    assert shipped.get_vocab_size() == 1024
    assert shipped.decode(shipped.encode(CODE).ids) == CODE


def test_a_document_ends_with_the_end_token(trained: Tokenizer) -> None:
    documents = list(encode_documents(trained, [CODE, "x = 1\n"], batch=1))
    assert [ids[-1] for ids in documents] == [0, 0]
    assert [trained.decode(ids[:-1]) for ids in documents] == [CODE, "x = 1\n"]


def test_a_sample_stops_once_it_holds_enough() -> None:
    assert list(sample(iter(["aaaa", "bbbb", "cccc"]), 5)) == ["aaaa", "bbbb"]


def test_transformers_reads_the_folder_with_its_chat_template(trained: Tokenizer, tmp_path: Path) -> None:
    save_tokenizer(trained, tmp_path, 64)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.eos_token_id, tokenizer.mask_token_id) == (0, 1)
    messages = [{"role": "user", "content": "Add."}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt == "<|im_start|>user\nAdd.<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer(prompt)["input_ids"][0] == 2


def test_a_documented_function_becomes_a_chat_behind_its_file() -> None:
    file, chat = chat_pairs([CODE], share=1.0)
    assert file == CODE
    assert chat.startswith("<|im_start|>user\n") and "Add two numbers." in chat
    assert chat.endswith(f"<|im_end|>\n<|im_start|>assistant\n{CODE.rstrip()}<|im_end|>\n")
    assert list(chat_pairs([CODE], share=0.0)) == [CODE]


def test_a_folder_without_a_tokenizer_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no tokenizer\.json"):
        copy_tokenizer(tmp_path / "none", tmp_path)
