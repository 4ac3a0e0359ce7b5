"""A byte-level BPE for code, written as the files that transformers and the server read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from models.errors import ModelError

END, MASK, TURN_START, TURN_END = "<|endoftext|>", "<|mask|>", "<|im_start|>", "<|im_end|>"
SPECIAL = [END, MASK, TURN_START, TURN_END]
#: words with the blank before them, single digits, runs of punctuation, and indentation by itself
SPLIT = r" ?[A-Za-z]+|\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|[\r\n]+ *|\s+(?!\S)|\s+"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A tokenizer of exactly `vocab_size` tokens, the special ones first, that gives every byte back as it came."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """Id of one of SPECIAL; raises ModelError where the tokenizer lacks it."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ModelError(f"The tokenizer has no {token} token, which training needs.")
    return int(found)


def save_tokenizer(tokenizer: Tokenizer, folder: Path, context_length: int) -> None:
    """Write tokenizer.json, tokenizer_config.json and generation_config.json into a model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "mask_token": MASK,
        "additional_special_tokens": [TURN_START, TURN_END],
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {"eos_token_id": [special_id(tokenizer, END), special_id(tokenizer, TURN_END)]}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def sample(texts: Iterable[str], characters: int) -> Iterator[str]:
    """The first texts, until they hold `characters`."""
    taken = 0
    for text in texts:
        if taken >= characters:
            return
        taken += len(text)
        yield text


def encode_documents(tokenizer: Tokenizer, texts: Iterable[str], batch: int = 256) -> Iterator[list[int]]:
    """Token ids of each text, closed by the end token."""
    end, stream = special_id(tokenizer, END), iter(texts)
    while group := list(islice(stream, batch)):
        for encoding in tokenizer.encode_batch(group):
            yield [*encoding.ids, end]
