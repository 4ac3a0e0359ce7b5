"""A checkpoint's tokenizer: text to ids and back, and its chat template; needs neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from models.chat_template import ChatTemplate, find_template
from models.detokenizer import ByteDetokenizer, IncrementalDetokenizer, WindowDetokenizer
from models.errors import ModelError, PromptError
from models.folder import eos_token_ids, read_object, special_tokens, token_text
from models.gguf import tokenizer as gguf
from models.gguf.header import end_ids, read_header
from models.vocabulary import Spelling, Vocabulary

ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


class Tokenizer:
    """Immutable and safe to share between threads, apart from the detokenizers it hands out."""

    def __init__(
        self,
        fast: tokenizers.Tokenizer,
        special_tokens: Mapping[str, str],
        template: ChatTemplate | None = None,
        eos: Sequence[int] = (),
        tool_template: ChatTemplate | None = None,
    ) -> None:
        """`special_tokens`: text by role, such as bos_token. `eos`: ids that end a text, beside the eos_token role.

        `tool_template` is for conversations with tools, where they have one of their own.
        """
        fast.no_truncation()
        fast.no_padding()
        self._fast = fast
        self._template = template
        self.tool_template = tool_template or template
        self.special_tokens = dict(special_tokens)
        named = [fast.token_to_id(special_tokens["eos_token"])] if "eos_token" in special_tokens else []
        self.eos_token_ids = tuple(dict.fromkeys([*eos, *(token for token in named if token is not None)]))
        self.vocabulary = Vocabulary(fast)

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """Read tokenizer.json and, where they exist, the configs and templates beside it, or a GGUF file's metadata.

        Raises ModelError.
        """
        if folder.is_file():
            return cls._from_gguf(folder)
        fast = _read_fast(folder)
        config = read_object(folder / "tokenizer_config.json") or {}
        special = _special_tokens(special_tokens(folder))
        sources = [find_template(folder, config, name) for name in ("default", "tool_use")]
        template, tools = (None if source is None else ChatTemplate(source, special) for source in sources)
        return cls(fast, special, template, eos_token_ids(folder, read_object(folder / "config.json") or {}), tools)

    @classmethod
    def _from_gguf(cls, path: Path) -> Tokenizer:
        special = gguf.special_tokens(path)
        sources = [gguf.chat_template(path, name) for name in ("default", "tool_use")]
        template, tools = (None if source is None else ChatTemplate(source, special) for source in sources)
        return cls(gguf.fast_tokenizer(path), special, template, end_ids(read_header(path).metadata), tools)

    @property
    def vocab_size(self) -> int:
        """One more than the highest id that stands for a token; the model's vocabulary may be padded beyond it."""
        return self.vocabulary.size

    @property
    def special_ids(self) -> frozenset[int]:
        return self.vocabulary.special_ids

    @cached_property
    def bos_token_id(self) -> int | None:
        return self.token_id(self.special_tokens["bos_token"]) if "bos_token" in self.special_tokens else None

    @property
    def has_chat_template(self) -> bool:
        return self._template is not None

    @property
    def chat_template(self) -> ChatTemplate | None:
        return self._template

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of `text`. Raises PromptError where it is no valid Unicode."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PromptError(f"The text has half a surrogate pair at character {error.start}.") from None
        ids: list[int] = self._fast.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of the ids, each from 0 on; ids that stand for no token give none."""
        text: str = self._fast.decode(list(token_ids), skip_special_tokens=skip_special_tokens)
        return text

    def detokenizer(
        self, skip_special_tokens: bool = True, kept: frozenset[int] = frozenset()
    ) -> IncrementalDetokenizer:
        """A new one per output stream; together its pieces are `decode` of all tokens.

        `kept` are special tokens that are written even where the others are skipped.
        """
        skipped = self.special_ids - kept if skip_special_tokens else frozenset()

        def skip(token: int) -> bool:
            return token in skipped or not self.vocabulary.holds(token)

        if self.vocabulary.spelling is not Spelling.OTHER:
            return ByteDetokenizer(self.token_bytes, skip, self.vocabulary.strips_space)
        return WindowDetokenizer(lambda ids: self.decode(ids, skip_special_tokens=False), skip)

    def token_id(self, token: str) -> int | None:
        """Id of a token as the vocabulary spells it, such as "<|im_end|>"."""
        found: int | None = self._fast.token_to_id(token)
        return found

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes this token adds to a text; empty for an id that stands for no token."""
        return self.vocabulary.bytes_of(token_id)

    def token_text(self, token_id: int) -> str:
        """`token_bytes` as text for people, U+FFFD where they are part of a character."""
        return self.token_bytes(token_id).decode(errors="replace")

    def to_json(self) -> str:
        """The tokenizer as the text of a tokenizer.json."""
        text: str = self._fast.to_str()
        return text

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **variables: Any
    ) -> str:
        """The prompt text of a conversation; it holds its own special tokens, so encode it without adding any.

        `variables` go to the template, such as tools or enable_thinking. Raises PromptError.
        """
        if self._template is None:
            raise PromptError("This model has no chat template, so it takes plain prompts only.")
        return self._template.render(messages, add_generation_prompt, variables)


def _read_fast(folder: Path) -> tokenizers.Tokenizer:
    if not folder.is_dir():
        raise ModelError(f"There is no model folder {folder}: give one with config.json and tokenizer.json.")
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(f"{folder} holds no tokenizer.json: save the model's fast tokenizer there.")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"{path} is not a readable tokenizer ({str(error).rstrip('.')}).") from None


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Text by role; a token is given as text or as an object with its content."""
    found = {}
    for role in ROLES:
        text = token_text(config.get(role))
        if text is not None:
            found[role] = text
    return found
