"""Which engine gets a sequence: the one whose cache knows most of its prompt, unless that one is too busy."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from engine.cache.pages import page_hash

#: so many leading pages of a prompt are looked at; what two prompts share beyond them would not change the choice
LEADING_PAGES = 256


class Router:
    """Remembers, for each of `engines` engines, the leading pages of the prompts it was given.

    `capacity` pages are remembered per engine, as many as its cache holds, the least recently used going first: so
    this is what an engine's prefix cache holds, as far as prompts alone tell. `margin` is how many sequences more than
    the least busy engine one may have in flight and still be chosen for what it has cached.
    """

    def __init__(self, engines: int, page_size: int, capacity: int, margin: int) -> None:
        self.margin = margin
        self._page_size = page_size
        self._capacity = capacity
        self._pages: list[OrderedDict[bytes, None]] = [OrderedDict() for _ in range(engines)]

    def route(self, prompt: Sequence[int], loads: Mapping[int, int]) -> int:
        """The engine for this prompt, which is remembered as that engine's.

        `loads` holds the sequences in flight of every engine that can be chosen, at least one.
        """
        if len(loads) == 1 == len(self._pages):
            return next(iter(loads))
        hashes = self._hashes(prompt)
        cached = {engine: self._matched(engine, hashes) for engine in loads}
        chosen = choose(cached, loads, self.margin, {engine: len(self._pages[engine]) for engine in loads})
        self._remember(chosen, hashes)
        return chosen

    def forget(self, engine: int) -> None:
        """The engine has lost its cache."""
        self._pages[engine].clear()

    def _hashes(self, prompt: Sequence[int]) -> list[bytes]:
        """Chained hashes of the full pages before the last token, which is computed in any case."""
        size = self._page_size
        hashes: list[bytes] = []
        for start in range(0, min(len(prompt) - size, LEADING_PAGES * size), size):
            hashes.append(page_hash(hashes[-1] if hashes else b"", prompt[start : start + size]))
        return hashes

    def _matched(self, engine: int, hashes: list[bytes]) -> int:
        known = self._pages[engine]
        return next((index for index, digest in enumerate(hashes) if digest not in known), len(hashes))

    def _remember(self, engine: int, hashes: list[bytes]) -> None:
        known = self._pages[engine]
        # the first page of a chain is used last, so that a chain is forgotten from its end
        for digest in reversed(hashes):
            known[digest] = None
            known.move_to_end(digest)
        while len(known) > self._capacity:
            known.popitem(last=False)


def choose(cached: Mapping[int, int], loads: Mapping[int, int], margin: int, held: Mapping[int, int]) -> int:
    """The engine with the most cached pages among those within `margin` of the least load; then the least busy one,
    then the one that holds the fewest pages."""
    near = min(loads.values()) + margin
    sharing = [engine for engine in loads if cached[engine] and loads[engine] <= near]
    return min(sharing or loads, key=lambda engine: (-cached[engine] if sharing else 0, loads[engine], held[engine]))
