"""Compiles grammars for one model's tokens, and remembers the last ones."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from pathlib import Path

from llguidance import LLMatcher, LLTokenizer

from engine.errors import RequestError
from engine.grammar.matcher import CompiledGrammar
from engine.grammar.source import LIMITS, grammar_error, grammar_text
from engine.params import Grammar
from models.errors import ModelError
from models.tokenizer import Tokenizer

#: compiled grammars that are kept, the least recently used leaves first
KEPT = 64


class GrammarCompiler:
    """Thread safe. The tokenizer is read by `warm`, or when the first grammar comes."""

    def __init__(self, folder: Path, vocab_size: int, eos_token_ids: list[int]) -> None:
        self._folder = folder
        self._vocab_size = vocab_size
        self._eos_token_ids = eos_token_ids
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[Grammar, CompiledGrammar] = OrderedDict()
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Read the tokenizer, which for a large vocabulary would hold up every thread for a second later on.

        Where it cannot be used, the first grammar will say so.
        """
        with contextlib.suppress(RequestError):
            self._read_tokenizer()

    def kept(self, grammar: Grammar) -> CompiledGrammar | None:
        """The grammar, if it is compiled and sound; never slow."""
        with self._lock:
            compiled = self._kept.get(grammar)
            if compiled is not None and compiled.exhausted:
                del self._kept[grammar]
                return None
            if compiled is not None:
                self._kept.move_to_end(grammar)
            return compiled

    def compile(self, grammar: Grammar) -> CompiledGrammar:
        """Takes from a millisecond to seconds, most of it without the GIL. Raises RequestError, param "grammar"."""
        compiled = self.kept(grammar)
        if compiled is not None:
            return compiled
        text = grammar_text(grammar)
        tokenizer = self._read_tokenizer()
        state = LLMatcher(tokenizer, text, log_level=0, limits=LIMITS)
        if not state.is_error():
            # The first mask builds most of the lexer; copies share it.
            state.compute_bitmask()
        if state.is_error():
            raise grammar_error(state.get_error().replace("NoExtensionBias", "no text can match it"))
        compiled = CompiledGrammar(state, tokenizer.vocab_size, self._vocab_size, frozenset(self._eos_token_ids))
        with self._lock:
            self._kept[grammar] = compiled
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return compiled

    def _read_tokenizer(self) -> LLTokenizer:
        if self._tokenizer is None:
            if not self._eos_token_ids:
                raise RequestError("The model has no end-of-text token, which grammars need.", "grammar")
            try:
                tokenizer = Tokenizer.from_folder(self._folder)
                words = max(self._vocab_size, tokenizer.vocab_size)
                self._tokenizer = LLTokenizer(tokenizer.to_json(), n_vocab=words, eos_token=self._eos_token_ids)
            except (ModelError, ValueError) as error:
                raise RequestError(f"The model's tokenizer cannot be used with grammars: {error}", "grammar") from None
        return self._tokenizer
