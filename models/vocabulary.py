"""What single tokens of a vocabulary are worth in bytes."""

from __future__ import annotations

import json
import re
from enum import Enum
from functools import cached_property
from typing import Any

import tokenizers

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Spelling(Enum):
    """How a vocabulary writes its tokens."""

    BYTES = "one printable character per byte (GPT-2, Llama 3, Qwen)"
    SENTENCEPIECE = "text with ▁ for a space, and <0x0A> for single bytes (Llama 2, Mistral)"
    OTHER = "only the tokenizer itself can tell"


class Vocabulary:
    """Token by token view of a tokenizer."""

    def __init__(self, fast: tokenizers.Tokenizer) -> None:
        self._fast = fast
        added = fast.get_added_tokens_decoder()
        self.special_ids = frozenset(token for token, entry in added.items() if entry.special)
        steps = _decoding(fast)
        self.spelling = _spelling(steps)
        #: a text loses the space it starts with
        self.strips_space = any(step["type"] == "Strip" for step in steps)
        self._bytes: dict[int, bytes] = {}

    @cached_property
    def size(self) -> int:
        return 1 + max(self._fast.get_vocab(with_added_tokens=True).values(), default=-1)

    def holds(self, token_id: int) -> bool:
        return token_id >= 0 and self._fast.id_to_token(token_id) is not None

    def bytes_of(self, token_id: int) -> bytes:
        """The bytes this token adds inside a text; empty for an id that stands for no token."""
        known = self._bytes.get(token_id)
        if known is None:
            token = self._fast.id_to_token(token_id) if token_id >= 0 else None
            known = self._bytes[token_id] = b"" if token is None else self._spelled(token)
        return known

    def _spelled(self, token: str) -> bytes:
        if self.spelling is Spelling.BYTES:
            spelled = [BYTES.get(character) for character in token]
            return token.encode() if None in spelled else bytes(byte for byte in spelled if byte is not None)
        byte = BYTE_TOKEN.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()


def _decoding(fast: tokenizers.Tokenizer) -> list[dict[str, Any]]:
    """The steps by which the tokenizer makes text of tokens, as tokenizer.json describes them."""
    if fast.decoder is None:
        return []
    state = json.loads(fast.decoder.__getstate__())
    steps: list[dict[str, Any]] = state["decoders"] if state["type"] == "Sequence" else [state]
    return steps


def _spelling(steps: list[dict[str, Any]]) -> Spelling:
    if [step["type"] for step in steps if step["type"] != "Fuse"] == ["ByteLevel"]:
        return Spelling.BYTES
    known = (
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    )
    if known[0] in steps and known[1] in steps and all(step in known for step in steps):
        return Spelling.SENTENCEPIECE
    return Spelling.OTHER


def _byte_characters() -> dict[str, int]:
    """The byte-level alphabet: printable Latin-1 bytes stand for themselves, the others for U+0100 and on in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + index): byte for index, byte in enumerate(others)}


BYTES = _byte_characters()
