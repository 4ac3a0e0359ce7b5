"""Tiny tokenizers of the two kinds that Llama-family checkpoints carry, trained on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SAMPLE = [
    "def add(a, b):\n    return a + b\n",
    "for index in range(10):\n    print(index, 'grün', \"naïve\")\n",
    "The quick brown fox – 狐 – jumps over 🦊 and 🇩🇪.",
]
BYTE_ALPHABET = [f"<0x{byte:02X}>" for byte in range(256)]

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_level() -> Tokenizer:
    """Like GPT-2, Llama 3 and Qwen: tokens are byte strings in printable disguise."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|bos|>", "<|end|>", "<|mask|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SAMPLE, trainer)
    # plain additions: one that is spelled in bytes' own characters, one that is not
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("狐狐", normalized=False)])
    return tokenizer


def sentencepiece() -> Tokenizer:
    """Like Llama 2 and Mistral: ▁ for spaces, one before the text, and bytes for what the vocabulary lacks."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trained.train_from_iterator(
        [text.encode("ascii", "ignore").decode() for text in SAMPLE],
        trainers.BpeTrainer(
            vocab_size=500, special_tokens=["<unk>", "<s>", "</s>", *BYTE_ALPHABET], show_progress=False
        ),
    )
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(model["vocab"], merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def word_pieces() -> Tokenizer:
    """Like BERT: words, and pieces marked ## that join the word before; its decoder puts the spaces in."""
    words = ["[UNK]", "def", "add", "##s", "##ing", "return", "the", "fox", "##es", ",", "!"]
    tokenizer = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer


def write(folder: Path, tokenizer: Tokenizer, **config: Any) -> Path:
    """tokenizer.json and, with `config`, tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
