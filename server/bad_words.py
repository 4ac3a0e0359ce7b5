"""From bad words to the token sequences that the engine keeps out."""

from __future__ import annotations

from models.tokenizer import Tokenizer
from server.errors import bad_request
from server.prompts import encode

MAX_WORDS = 256
MAX_LENGTH = 256


async def bad_word_tokens(words: list[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Each word's tokens, as they are at the start of a text and after a space. Raises a 400 for unusable words."""
    if len(words) > MAX_WORDS:
        raise bad_request(f"bad_words holds {len(words)} words; {MAX_WORDS} are allowed.", "bad_words")
    sequences: list[list[int]] = []
    for word in words:
        bare = word.lstrip()
        if not 1 <= len(bare) <= MAX_LENGTH:
            raise bad_request(f"Each bad word must have 1 to {MAX_LENGTH} characters.", "bad_words")
        for spelling in (bare, f" {bare}"):
            tokens = await encode(tokenizer, spelling, False, "bad_words")
            if not tokens:
                raise bad_request(f"The bad word {word[:40]!r} has no tokens.", "bad_words")
            if tokens not in sequences:
                sequences.append(tokens)
    return sequences
