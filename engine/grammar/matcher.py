"""Where one sequence's output stands in its grammar, and what may come next, also after drafts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

#: one bit per token, 32 tokens a word, the lowest bit first
Bits = NDArray[np.int32]


@dataclass(eq=False)
class CompiledGrammar:
    """A grammar at its start, whose copies share what the lexer learns.

    `words` counts the tokens of the tokenizer, `vocab_size` those of the model, which are not more; `exhausted` is set
    when a limit of the shared lexer was met, after which a fresh compilation is better than another copy.
    """

    start: LLMatcher
    words: int
    vocab_size: int
    end_ids: frozenset[int]
    exhausted: bool = False

    @cached_property
    def but_ends(self) -> Bits:
        """Bits of all tokens of the tokenizer but those that end a text."""
        bits = np.full(-(-self.words // 32), 0xFFFFFFFF, np.uint32)
        for token in self.end_ids:
            bits[token >> 5] &= np.uint32(0xFFFFFFFF ^ (1 << (token & 31)))
        return bits.view(np.int32)


class Matcher:
    """The grammar's state after the committed tokens, and after drafts that are followed for a while.

    Following drafts never changes what `allowed` says once they are taken back.
    """

    def __init__(self, grammar: CompiledGrammar, ignore_eos: bool) -> None:
        """With `ignore_eos`, the end of text is only reached where the grammar leaves nothing else to say."""
        self._grammar = grammar
        self._state = grammar.start.deep_copy()
        self._ignore_eos = ignore_eos
        self._row_words = -(-grammar.vocab_size // 32)
        self._committed: list[int] = []
        self._ahead = 0
        #: set for good where the grammar met a limit: one sentence
        self.failure: str | None = None

    @property
    def complete(self) -> bool:
        """Whether the output matches as it is and nothing can be added."""
        if self._state.is_error():
            return False
        if self._state.is_stopped():
            return True
        if not self._state.is_accepting():
            return False
        bits = self._bits()
        return not (bits & self._grammar.but_ends).any()

    def advance(self, token: int) -> bool:
        """Commit an allowed token; returns whether the output is now complete."""
        self._committed.append(token)
        if token in self._grammar.end_ids:
            return True
        if not self._state.consume_token(token):
            self._give_up()
            return False
        return bool(self._state.is_stopped())

    def allowed(self) -> Bits:
        """What may come next, int32 [ceil(vocab_size / 32)]; nothing at all where a limit was met."""
        if self._state.is_error():
            return np.zeros(self._row_words, np.int32)
        bits = self._bits()
        if self._state.is_error():
            if not self._ahead:
                self._give_up()
            return np.zeros(self._row_words, np.int32)
        if self._ignore_eos:
            bits &= self._grammar.but_ends
        return bits[: self._row_words]

    def allowed_along(self, drafts: list[int]) -> list[Bits]:
        """`allowed` before each draft and after the last. What follows an impossible draft can never be committed and
        is all zeros."""
        rows = [self.allowed()]
        for draft in drafts:
            if not (_holds(rows[-1], draft) and self._follow(draft)):
                break
            rows.append(self.allowed())
        self.take_back()
        nothing = np.zeros(self._row_words, np.int32)
        return rows + [nothing] * (len(drafts) + 1 - len(rows))

    def follow(self, drafts: list[int]) -> tuple[int, bool]:
        """Go along the drafts while they are possible: how many are, and whether another could come after those."""
        if self._state.is_error():
            return 0, False
        possible = self._state.validate_tokens(drafts)
        for index, draft in enumerate(drafts[:possible]):
            if not self._follow(draft):
                return index + 1, False
        return possible, True

    def take_back(self) -> None:
        """Forget the drafts followed since the last time."""
        if not self._ahead:
            return
        ahead, self._ahead = self._ahead, 0
        if self._state.is_error() or not self._state.rollback(ahead):
            # A draft led to a limit that the output itself may never meet.
            self._state = self._grammar.start.deep_copy()
            if not self._state.consume_tokens(self._committed):
                self._give_up()

    def _follow(self, draft: int) -> bool:
        """Take one possible draft; returns whether anything can follow it."""
        if draft in self._grammar.end_ids:
            return False
        self._ahead += 1
        return bool(self._state.consume_token(draft)) and not self._state.is_stopped()

    def _bits(self) -> Bits:
        bits = np.empty_like(self._grammar.but_ends)
        self._state.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
        return bits

    def _give_up(self) -> None:
        self._grammar.exhausted = True
        self.failure = "The grammar became too complex at this point of the output; simplify it."


def _holds(bits: Bits, token: int) -> bool:
    return bool(int(bits[token >> 5]) >> (token & 31) & 1)
