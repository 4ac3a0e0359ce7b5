"""A page pool driven at random against the simplest thing that could be right."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.cache.pages import NULL_PAGE, PagePool, page_hash

digests = st.integers(0, 9).map(lambda n: page_hash(b"", [n]))


class PoolMachine(RuleBasedStateMachine):
    """Holders take pages, share them, fill them and let them go; the model knows references, hashes and ages."""

    @initialize(pages=st.integers(1, 12), caching=st.booleans())
    def start(self, pages: int, caching: bool) -> None:
        self.pool = PagePool(pages, page_size=4, prefix_caching=caching)
        self.caching = caching
        self.references = dict.fromkeys(range(1, pages + 1), 0)
        self.named: dict[bytes, int] = {}
        self.held: list[list[int]] = []
        #: free pages by eviction order: those that cannot be found again, in any order, then cached ones by age
        self.plain = set(self.references)
        self.cached: list[int] = []

    def name_of(self, page: int) -> bytes | None:
        return next((digest for digest, named in self.named.items() if named == page), None)

    @rule(count=st.integers(0, 6))
    def allocate(self, count: int) -> None:
        pages = self.pool.allocate(count)
        if count > len(self.plain) + len(self.cached):
            assert pages is None
            return
        assert pages is not None and len(set(pages)) == count and NULL_PAGE not in pages
        evicted = count - min(count, len(self.plain))
        assert set(pages) - self.plain == set(self.cached[:evicted]), "a cached page went before its turn"
        for page in self.cached[:evicted]:
            del self.named[self.name_of(page) or b""]
        self.plain -= set(pages)
        self.cached = self.cached[evicted:]
        for page in pages:
            assert self.references[page] == 0
            self.references[page] = 1
        self.held.append(pages)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        pages = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.pool.release(pages)
        for page in reversed(pages):
            self.references[page] -= 1
            if self.references[page] == 0:
                if self.name_of(page) is None:
                    self.plain.add(page)
                else:
                    self.cached.append(page)

    @precondition(lambda self: any(self.held))
    @rule(data=st.data(), digest=digests)
    def register(self, data: st.DataObject, digest: bytes) -> None:
        page = data.draw(st.sampled_from(sorted({page for pages in self.held for page in pages})))
        self.pool.register(page, digest)
        if self.caching and digest not in self.named:
            self.named.pop(self.name_of(page) or b"", None)
            self.named[digest] = page

    @precondition(lambda self: any(self.held))
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        pages = data.draw(st.sampled_from(self.held))
        self.pool.forget(pages)
        self.named = {digest: page for digest, page in self.named.items() if page not in pages}

    @rule(wanted=st.lists(digests, max_size=4, unique=True))
    def match(self, wanted: list[bytes]) -> None:
        expected: list[int] = []
        for digest in wanted:
            if digest not in self.named:
                break
            expected.append(self.named[digest])
        assert self.pool.match(wanted) == expected
        for page in expected:
            self.references[page] += 1
        self.cached = [page for page in self.cached if page not in expected]
        self.held.append(expected)

    @precondition(lambda self: self.plain or self.cached)
    @rule(data=st.data())
    def a_double_free_is_noticed(self, data: st.DataObject) -> None:
        page = data.draw(st.sampled_from(sorted([*self.plain, *self.cached])))
        with pytest.raises(AssertionError, match="more often than taken"):
            self.pool.release([page])

    @invariant()
    def the_books_balance(self) -> None:
        if hasattr(self, "pool"):
            self.pool.check()
            assert self.pool.free == len(self.plain) + len(self.cached)
            assert self.pool.used == sum(count > 0 for count in self.references.values())
            if not self.caching:
                assert not self.named

    def teardown(self) -> None:
        for pages in getattr(self, "held", []):
            self.pool.release(pages)
        if hasattr(self, "pool"):
            assert self.pool.used == 0


PoolMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestPagePool = PoolMachine.TestCase


def test_the_null_page_is_never_handed_out_and_cannot_be_released() -> None:
    pool = PagePool(3, 4)
    assert sorted(pool.allocate(3) or []) == [1, 2, 3]
    assert pool.allocate(1) is None
    with pytest.raises(AssertionError):
        pool.release([NULL_PAGE])


def test_a_page_that_two_hold_is_free_when_both_let_go() -> None:
    pool = PagePool(1, 4)
    first = pool.allocate(1) or []
    pool.register(first[0], page_hash(b"", [1, 2, 3, 4]))
    second = pool.match([page_hash(b"", [1, 2, 3, 4])])
    pool.release(first)
    assert (second, pool.free) == (first, 0)
    pool.release(second)
    assert pool.free == 1


def test_the_least_recently_used_page_is_evicted_first_and_the_tail_of_a_sequence_before_its_head() -> None:
    pool = PagePool(5, 1)
    old, new = pool.allocate(2) or [], pool.allocate(2) or []
    names = [page_hash(b"", [i]) for i in range(4)]
    for page, name in zip(old + new, names, strict=True):
        pool.register(page, name)
    pool.release(old)
    pool.release(new)
    pool.release(pool.match(names[:1]))
    gone = [pool.allocate(1) for _ in range(5)]
    # the page that was never used, then by age: old's tail, new's tail and head, and old's head that was used last
    assert gone == [[5], [old[1]], [new[1]], [new[0]], [old[0]]]


def test_the_hash_of_a_page_depends_on_everything_before_it() -> None:
    head, other = page_hash(b"", [1, 2]), page_hash(b"", [1, 3])
    assert page_hash(head, [5, 6]) != page_hash(other, [5, 6]) != page_hash(b"", [5, 6])
    assert page_hash(head, [5, 6]) == page_hash(page_hash(b"", [1, 2]), [5, 6])
    assert page_hash(b"", [1]) != page_hash(b"", [1, 0])


@pytest.mark.parametrize(("tokens", "pages"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2)])
def test_pages_for_rounds_up(tokens: int, pages: int) -> None:
    assert PagePool(1, 4).pages_for(tokens) == pages
