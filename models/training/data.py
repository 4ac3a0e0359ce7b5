"""Data preparation end to end: packages, corpus, tokenizer, token files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from models.errors import ModelError
from models.training.chat_pairs import chat_pairs
from models.training.corpus import DATA_LIST, DataList, prepare_corpus, read_documents
from models.training.dataset import write_tokens
from models.training.settings import ModelShape
from models.training.tokenizer_training import (
    SPECIAL,
    encode_documents,
    sample,
    save_tokenizer,
    special_id,
    train_tokenizer,
)

#: what the tokenizer learns from, and what is tokenised for training: characters of the shuffled corpus
TOKENIZER_CHARACTERS, TRAINING_CHARACTERS = 12_000_000, 75_000_000
#: share of the training documents that a chat about one of their functions follows
CHAT_SHARE = 0.5
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


def prepare_data(
    folder: Path,
    vocab_size: int = ModelShape.vocab_size,
    tokenizer: Path | None = None,
    data_list: Path = DATA_LIST,
    training_characters: int = TRAINING_CHARACTERS,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Fetch the packages of `data_list` and leave train.bin, held_out.bin and a tokenizer in `folder`.

    What is there already (downloads, train.jsonl and held_out.jsonl, the tokenizer) is kept, so a stopped preparation
    goes on where it was. `tokenizer` is a model folder whose tokenizer is taken instead of training one of
    `vocab_size` tokens. `report` gets a line per stage. Raises ModelError where a package cannot be fetched, or where
    a tokenizer does not fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    train, held_out = folder / "train.jsonl", folder / "held_out.jsonl"
    if not (train.exists() and held_out.exists()):
        report("fetching packages and choosing sources")
        prepare_corpus(folder, DataList.read(data_list))
    if tokenizer is not None:
        copy_tokenizer(tokenizer, folder)
    elif not (folder / "tokenizer.json").exists():
        report(f"training a tokenizer of {vocab_size} tokens")
        learned = train_tokenizer(sample(read_documents(train), TOKENIZER_CHARACTERS), vocab_size)
        save_tokenizer(learned, folder, ModelShape.context_length)
    encoder = _fitting_tokenizer(folder / "tokenizer.json", vocab_size)
    report("tokenising")
    count = write_tokens(folder / "held_out.bin", encode_documents(encoder, read_documents(held_out)))
    report(f"held_out.bin: {count:,} tokens")
    texts = chat_pairs(sample(read_documents(train), training_characters), CHAT_SHARE)
    count = write_tokens(folder / "train.bin", encode_documents(encoder, texts))
    report(f"train.bin: {count:,} tokens")


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy the tokenizer's files from a model or data folder into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if not (source / name).exists():
            raise ModelError(
                f"{source} holds no {name}: name a folder with a tokenizer, as `tidar train data` writes it."
            )
        if source.resolve() != folder.resolve():
            shutil.copyfile(source / name, folder / name)


def _fitting_tokenizer(path: Path, vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    for token in SPECIAL:
        special_id(tokenizer, token)
    if tokenizer.get_vocab_size() != vocab_size:
        raise ModelError(
            f"The tokenizer at {path} has {tokenizer.get_vocab_size()} tokens, not {vocab_size}: "
            "name its size, or remove it to train another."
        )
    return tokenizer
