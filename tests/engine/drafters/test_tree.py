"""Trees of drafts: which path comes first, what a cut leaves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.strategies.tree_verify import DraftTree


@st.composite
def trees(draw: st.DrawFn) -> DraftTree:
    parents = [draw(st.integers(-1, node - 1)) for node in range(draw(st.integers(1, 20)))]
    return DraftTree.of(list(range(100, 100 + len(parents))), parents)


def depth(tree: DraftTree, node: int) -> int:
    return len(tree.said(node))


def test_the_longest_path_comes_first() -> None:
    tree = DraftTree.of([10, 11, 12, 13, 14], [-1, -1, 0, 1, 3])
    assert tree.tokens[:3] == (11, 13, 14) and tree.parents[:3] == (-1, 0, 1) and tree.chain == 3
    assert sorted(tree.said(node) for node in (3, 4)) == [[10], [10, 12]]


def test_no_drafts_are_a_tree_too() -> None:
    assert DraftTree.of([], []) == DraftTree((), (), 0)


@given(trees(), st.integers(0, 20), st.integers(0, 20))
def test_a_cut_keeps_what_fits_and_hangs_together(tree: DraftTree, nodes: int, deepest: int) -> None:
    cut = tree.cut(nodes, deepest)
    assert len(cut.tokens) <= nodes and max((depth(cut, n) for n in range(len(cut.tokens))), default=0) <= deepest
    paths = [tree.said(node) for node in range(len(tree.tokens))]
    assert all(cut.said(node) in paths for node in range(len(cut.tokens)))
    assert cut.chain == min(tree.chain, nodes, deepest)
    if nodes >= len(tree.tokens) and deepest >= tree.chain:
        assert cut == tree


@given(trees())
def test_parents_stand_before_their_children_and_no_path_is_longer_than_the_first(tree: DraftTree) -> None:
    assert all(parent < node for node, parent in enumerate(tree.parents))
    assert tree.parents[: tree.chain] == tuple(range(-1, tree.chain - 1))
    assert all(depth(tree, node) <= tree.chain for node in range(len(tree.tokens)))
