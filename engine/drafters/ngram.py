"""Prompt lookup: what followed the last tokens when they stood in the text before (arXiv 2304.04487's copying)."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from engine.sequence import Sequence


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


class NgramDrafter:
    """Drafts by copying from the sequence's own prompt and output; costs no forward of its own."""

    def __init__(self, shortest: int, longest: int) -> None:
        self.shortest = shortest
        self.longest = longest
        self._indices: WeakKeyDictionary[Sequence, NgramIndex] = WeakKeyDictionary()

    def lookup(self, sequence: Sequence, count: int) -> list[int]:
        index = self._indices.get(sequence)
        if index is None:
            index = self._indices[sequence] = NgramIndex(self.shortest, self.longest)
        return index.lookup(sequence.tokens, count)
