"""Tokenizers that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.tokenizer import Tokenizer
from tests.models import tokenizers_on_disk


@pytest.fixture(scope="session")
def byte_level_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizers_on_disk.write(
        tmp_path_factory.mktemp("byte_level"),
        tokenizers_on_disk.byte_level(),
        bos_token="<|bos|>",
        eos_token={"content": "<|end|>", "special": True},
        chat_template=tokenizers_on_disk.TEMPLATE,
    )


@pytest.fixture(scope="session")
def sentencepiece_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sentencepiece")
    return tokenizers_on_disk.write(folder, tokenizers_on_disk.sentencepiece(), bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def byte_level(byte_level_folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(byte_level_folder)


@pytest.fixture(scope="session")
def sentencepiece(sentencepiece_folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(sentencepiece_folder)
