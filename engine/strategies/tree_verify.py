"""Verify a tree of drafts in one forward: the window mask is the tree (SpecInfer, arXiv 2305.09781)."""

from __future__ import annotations

from dataclasses import dataclass

from engine.sampling.row import Row
from engine.sequence import Sequence, SequenceState
from engine.strategies.base import DraftChoice, Resolution
from engine.strategies.draft_verify import DraftVerify
from engine.window import Window
from engine.window_shapes import TreeShape


@dataclass(frozen=True)
class DraftTree(SequenceState):
    """Drafts for the positions after a sequence's tokens, as nodes; -1 is the parent of those that come first.

    The first `chain` nodes are a path from the root, each the next one's parent, and no path is longer; every parent
    stands before its children, and siblings differ.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    chain: int

    @classmethod
    def of(cls, tokens: list[int], parents: list[int]) -> DraftTree:
        """Put the longest path first (of several, the one whose end comes first), the other nodes as they stand."""
        depths: list[int] = []
        for parent in parents:
            depths.append(1 + (depths[parent] if parent >= 0 else 0))
        path: list[int] = []
        node = depths.index(max(depths)) if depths else -1
        while node >= 0:
            path.append(node)
            node = parents[node]
        order = path[::-1] + [node for node in range(len(tokens)) if node not in path]
        place = {node: index for index, node in enumerate(order)} | {-1: -1}
        moved = tuple(place[parents[node]] for node in order)
        return cls(tuple(tokens[node] for node in order), moved, len(path))

    def cut(self, nodes: int, depth: int) -> DraftTree:
        """The nodes no deeper than `depth`, at most so many: of the longest path first."""
        kept: dict[int, int] = {-1: -1}
        depths = {-1: 0}
        for node, parent in enumerate(self.parents):
            if len(kept) <= nodes and parent in kept and depths[parent] < depth:
                kept[node], depths[node] = len(kept) - 1, depths[parent] + 1
        chosen = list(kept)[1:]
        parents = tuple(kept[self.parents[node]] for node in chosen)
        return DraftTree(tuple(self.tokens[n] for n in chosen), parents, sum(node < self.chain for node in chosen))

    def said(self, node: int) -> list[int]:
        """The tokens from the root to this node; none for -1."""
        tokens: list[int] = []
        while node >= 0:
            tokens.append(self.tokens[node])
            node = self.parents[node]
        return tokens[::-1]


class TreeVerify(DraftVerify):
    """A sequence's `state` is its tree of drafts, if it has any; without one it is verified as `DraftVerify` does.

    Every node's AR row says which token comes next; as long as that is one of its children, the walk goes on there.
    """

    def __init__(self) -> None:
        super().__init__(None)

    def plan(self, sequence: Sequence, choice: DraftChoice, row_budget: int) -> Window:
        tree, pending = sequence.state, sequence.pending
        if not isinstance(tree, DraftTree) or choice.draft_length == 1 or pending >= row_budget:
            return super().plan(sequence, choice, row_budget)
        # a grammar goes along one path only
        nodes = row_budget - pending if sequence.matcher is None else min(row_budget - pending, tree.chain)
        tree = tree.cut(nodes, min(choice.draft_length, sequence.remaining) - 1)
        parents = tuple(range(-1, pending - 1)) + tuple(pending + parent for parent in tree.parents)
        shape = TreeShape(pending + tree.chain, parents)
        tokens = sequence.tokens[sequence.prefix_len :] + list(tree.tokens)
        return Window(sequence, tokens, shape, range(pending - 1, shape.rows), sequence.decoding, len(tree.tokens))

    def rows(self, window: Window) -> list[Row]:
        if not isinstance(window.shape, TreeShape) or window.sequence.matcher is not None:
            return super().rows(window)
        tree, first = _tree(window), len(window.sequence.tokens)
        said = [tree.said(node) for node in range(-1, len(tree.tokens))]
        return [Row(window.sequence, first + len(tokens), tokens) for tokens in said]

    def resolve(self, window: Window, sampled: list[int], confidence: list[float]) -> Resolution:
        # a tree stands where it was drafted, and there only
        window.sequence.state = None
        if not isinstance(window.shape, TreeShape):
            return super().resolve(window, sampled, confidence)
        tree, pending = _tree(window), window.sequence.pending
        children = {
            (parent, token): node for node, (parent, token) in enumerate(zip(tree.parents, tree.tokens, strict=True))
        }
        node, walk = -1, [-1]
        while (node := children.get((node, sampled[node + 1]), -1)) >= 0:
            walk.append(node)
        path = [*range(pending), *(pending + node for node in walk[1:])]
        committed = [sampled[node + 1] for node in walk]
        return Resolution(committed, len(path), path=path, fixed=[node + 1 for node in walk])


def _tree(window: Window) -> DraftTree:
    """The tree as it stands in the window."""
    pending = window.sequence.pending
    assert isinstance(window.shape, TreeShape)
    parents = tuple(parent - pending if parent >= pending else -1 for parent in window.shape.parents[pending:])
    return DraftTree(tuple(window.tokens[pending:]), parents, window.shape.clean - pending)
