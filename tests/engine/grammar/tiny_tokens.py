"""A tokenizer for the tiny checkpoints' 64 ids: letters and digits in order, JSON's signs, and a few longer tokens."""

from __future__ import annotations

import shutil
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.engine.tiny import VOCAB

SPECIAL = ["<|pad|>", "<|end|>", "<|mask|>"]
SIGNS = list('{}[]":,-. \n\\=;()')
LONGER = ['":', '",', '{"', '"}', '["', '"]', "true", "false", "null", "ab", "abc", "12", ", ", ": ", "u"]
TEXTS = [*"abcdefghijklmnopqrst", *"0123456789", *SIGNS, *LONGER]


def tiny_tokenizer() -> Tokenizer:
    """Byte-level; the model that counts spells the alphabet."""
    disguised = [text.replace(" ", "Ġ").replace("\n", "Ċ") for text in TEXTS]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate([*SPECIAL, *disguised])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    assert tokenizer.get_vocab_size() == VOCAB
    return tokenizer


def with_tokenizer(checkpoint: Path, folder: Path) -> Path:
    """A copy of a tiny checkpoint with the tokenizer beside it."""
    shutil.copytree(checkpoint, folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def text_of(token_ids: list[int]) -> str:
    return str(tiny_tokenizer().decode(token_ids, skip_special_tokens=True))
