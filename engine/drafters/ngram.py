"""Prompt lookup: drafts are what followed the last tokens when they stood in the text before."""

from __future__ import annotations

from torch import Tensor

from engine.sequence import Sequence
from engine.strategies.drafter import Decided, Drafter


class NgramIndex:
    """Where every n-gram of one token list was last seen, for n from `shortest` to `longest`; grows with the list."""

    def __init__(self, shortest: int, longest: int) -> None:
        self.shortest = shortest
        self.longest = longest
        #: n-gram to the index of the token after its last occurrence that has one
        self._after: dict[tuple[int, ...], int] = {}
        self._indexed = 0

    def lookup(self, tokens: list[int], count: int) -> list[int]:
        """Up to `count` tokens that followed the longest n-gram `tokens` ends with, where it last stood before."""
        self._extend(tokens)
        for n in range(min(self.longest, len(tokens) - 1), self.shortest - 1, -1):
            start = self._after.get(tuple(tokens[-n:]))
            if start is not None:
                return self._copy(tokens, start, count)
        return []

    def _extend(self, tokens: list[int]) -> None:
        """Index every n-gram that has a token after it."""
        for end in range(max(self._indexed, 1), len(tokens)):
            for n in range(self.shortest, min(self.longest, end) + 1):
                self._after[tuple(tokens[end - n : end])] = end
        self._indexed = max(self._indexed, len(tokens))

    @staticmethod
    def _copy(tokens: list[int], start: int, count: int) -> list[int]:
        """`count` tokens from `start` on; a text that repeats itself is followed round."""
        period = len(tokens) - start
        return [tokens[start + i % period] for i in range(count)]


class NgramDrafter(Drafter):
    """Copies from the sequence's own prompt and output; costs no forward, and nothing where nothing repeats."""

    def __init__(self, shortest: int, longest: int) -> None:
        self.shortest = shortest
        self.longest = longest
        self._indices: dict[str, NgramIndex] = {}

    def forget(self, sequence: Sequence) -> None:
        self._indices.pop(sequence.request_id, None)

    def propose(self, decided: list[Decided], hidden: Tensor, draft_length: int) -> None:
        for d in decided:
            sequence = d.window.sequence
            count = min(draft_length, sequence.remaining) - 1
            if sequence.finish_reason is None and sequence.decoding and count > 0:
                sequence.drafts = self._index(sequence).lookup(sequence.tokens, count)

    def _index(self, sequence: Sequence) -> NgramIndex:
        index = self._indices.get(sequence.request_id)
        if index is None:
            index = self._indices[sequence.request_id] = NgramIndex(self.shortest, self.longest)
        return index
