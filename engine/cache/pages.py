"""The page pool: reference counts, prefix caching by chained hash, eviction of the least recently used."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence as Tokens
from hashlib import blake2b

#: page 0 holds zeros, is never handed out and never written: what padding reads
NULL_PAGE = 0


def page_hash(previous: bytes, token_ids: Tokens[int]) -> bytes:
    """Identity of a full page: its tokens and, through `previous`, every token before them."""
    return blake2b(array("q", token_ids).tobytes(), digest_size=16, key=previous).digest()


class PagePool:
    """Hands out pages 1..num_pages of the KV cache and remembers which hold a known run of tokens.

    A page nobody refers to is free; if it carries a hash it can be found again by `match` until it is evicted.
    """

    def __init__(self, num_pages: int, page_size: int, prefix_caching: bool = True) -> None:
        self.num_pages = num_pages
        self.page_size = page_size
        self.prefix_caching = prefix_caching
        self._references = [0] * (num_pages + 1)
        self._free: OrderedDict[int, None] = OrderedDict((page, None) for page in range(1, num_pages + 1))
        self._hash_of: dict[int, bytes] = {}
        self._page_of: dict[bytes, int] = {}

    @property
    def free(self) -> int:
        """Pages nobody refers to, cached ones included."""
        return len(self._free)

    @property
    def used(self) -> int:
        return self.num_pages - len(self._free)

    def pages_for(self, tokens: int) -> int:
        """Pages that hold `tokens` tokens."""
        return -(-tokens // self.page_size)

    def allocate(self, count: int) -> list[int] | None:
        """`count` pages with one reference each, evicting the longest unused; None, and nothing taken, if too few."""
        if count > len(self._free):
            return None
        taken = [self._free.popitem(last=False)[0] for _ in range(count)]
        for page in taken:
            self._forget(page)
            self._references[page] = 1
        return taken

    def release(self, pages: Tokens[int]) -> None:
        """Drop one reference to each page; the last page of a sequence becomes the first to be evicted."""
        for page in reversed(pages):
            if self._references[page] < 1:
                raise AssertionError(f"page {page} was released more often than taken")
            self._references[page] -= 1
            if self._references[page] == 0:
                self._free[page] = None
                if page not in self._hash_of:
                    self._free.move_to_end(page, last=False)

    def match(self, hashes: Tokens[bytes]) -> list[int]:
        """Pages of the longest cached run of `hashes`, each with one more reference."""
        pages: list[int] = []
        for digest in hashes if self.prefix_caching else ():
            page = self._page_of.get(digest)
            if page is None:
                break
            if self._references[page] == 0:
                del self._free[page]
            self._references[page] += 1
            pages.append(page)
        return pages

    def register(self, page: int, digest: bytes) -> None:
        """Remember what a full page in use holds; the first page of a hash wins."""
        if self.prefix_caching and digest not in self._page_of:
            self._forget(page)
            self._page_of[digest] = page
            self._hash_of[page] = digest

    def forget(self, pages: Tokens[int]) -> None:
        """Let `match` find these pages no more: what they hold is not to be trusted."""
        for page in pages:
            self._forget(page)

    def _forget(self, page: int) -> None:
        digest = self._hash_of.pop(page, None)
        if digest is not None:
            del self._page_of[digest]

    def check(self) -> None:
        """Assert that the books balance: every page is either free or referred to, and each hash names its page."""
        for page in range(1, self.num_pages + 1):
            assert (self._references[page] == 0) == (page in self._free), f"page {page} is both free and in use"
        assert NULL_PAGE not in self._free and self._references[NULL_PAGE] == 0
        assert {digest: page for page, digest in self._hash_of.items()} == self._page_of
