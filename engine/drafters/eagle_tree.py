"""An EAGLE-3 head drafts a tree: the likeliest tokens at each node, the likeliest nodes of all (arXiv 2406.16858)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.attention.base import AttentionBackend
from engine.drafters.eagle import EagleDrafter
from engine.drafters.stepwise import Follower, Reserve
from engine.sampling.row import Row
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence
from engine.strategies.drafter import Decided
from engine.strategies.tree_verify import DraftTree
from engine.window import Window
from engine.window_shapes import TreeShape
from models.eagle import EagleHead


@dataclass
class _Growing:
    """One sequence's tree while it grows. `scores` are log-probabilities of whole paths; lists are by node.

    `open` are the nodes to look behind next, `run` those that the head has seen, in order, and `outputs` what it made
    of them [len(run), hidden_size]; `root` is what stands before the first draft.
    """

    sequence: Sequence
    follower: Follower
    depth: int
    root: Tensor
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    run: list[int] = field(default_factory=list)
    outputs: Tensor | None = None

    def said(self, node: int) -> list[int]:
        return [] if node < 0 else [*self.said(self.parents[node]), self.tokens[node]]

    def extend(self, parents: list[int], likeliest: Tensor, logprobs: Tensor) -> None:
        """Children of each parent: token ids and their log-probabilities, both [len(parents), width]."""
        first = len(self.tokens)
        for parent, tokens, each in zip(parents, likeliest.tolist(), logprobs.tolist(), strict=True):
            reached = self.scores[parent] if parent >= 0 else 0.0
            for token, logprob in zip(tokens, each, strict=True):
                # a token that the head does not have, or the request forbids
                if logprob > float("-inf"):
                    self.tokens.append(token)
                    self.parents.append(parent)
                    self.scores.append(reached + logprob)
        width = likeliest.shape[1]
        self.open = sorted(sorted(range(first, len(self.tokens)), key=lambda n: -self.scores[n])[:width])

    def tree(self, nodes: int) -> DraftTree | None:
        """The likeliest nodes; no path is likelier than its beginning, so they hang together."""
        if not self.tokens:
            return None
        chosen = sorted(sorted(range(len(self.tokens)), key=lambda n: -self.scores[n])[:nodes])
        place = {node: index for index, node in enumerate(chosen)} | {-1: -1}
        return DraftTree.of([self.tokens[n] for n in chosen], [place[self.parents[n]] for n in chosen])


class EagleTreeDrafter(EagleDrafter):
    """Looks behind the `width` likeliest nodes of each depth, and proposes the `nodes` likeliest of all.

    The head runs once per depth over the nodes it has opened so far, each seeing its ancestors only; their K/V are not
    kept. What is likely is judged with the noise of the position, as the token that decides is.
    """

    def __init__(
        self, head: EagleHead, attention: AttentionBackend, sampler: Sampler, reserve: Reserve, width: int, nodes: int
    ) -> None:
        super().__init__(head, attention, sampler, reserve)
        self.width = width
        self.nodes = nodes

    @torch.inference_mode()
    def propose(self, decided: list[Decided], hidden: Tensor, draft_length: int) -> None:
        alive = [d for d in decided if d.window.sequence.finish_reason is None]
        ready = self.catch_up(alive, drafting=draft_length > 1)
        trees = []
        for (sequence, follower), root in zip(ready, self._outputs[: len(ready)], strict=True):
            depth = min(draft_length, sequence.remaining) - 1
            if depth > 0:
                trees.append(_Growing(sequence, follower, depth, root[None]))
        for level in range(max((tree.depth for tree in trees), default=0)):
            self._grow([tree for tree in trees if tree.depth > level])
        for tree in trees:
            tree.sequence.state = tree.tree(self.nodes)

    def _grow(self, trees: list[_Growing]) -> None:
        """Another depth for each of these trees."""
        started = [tree for tree in trees if tree.open]
        if started:
            self._run_open(started)
        parents = [tree.open or [-1] for tree in trees if tree.open or not tree.tokens]
        trees = [tree for tree in trees if tree.open or not tree.tokens]
        if not trees:
            return
        rows = [
            Row(tree.sequence, len(tree.sequence.tokens) + len(said), said)
            for tree, nodes in zip(trees, parents, strict=True)
            for said in map(tree.said, nodes)
        ]
        outputs = [tree.root if tree.outputs is None else tree.outputs[-len(tree.open) :] for tree in trees]
        scores = torch.log_softmax(self.sampler.scores(self._vocabulary_logits(torch.cat(outputs)), rows), -1)
        best, likeliest = scores.topk(min(self.width, scores.shape[-1]), -1)
        first = 0
        for tree, nodes in zip(trees, parents, strict=True):
            span = slice(first, first + len(nodes))
            first = span.stop
            tree.extend(nodes, likeliest[span], best[span])

    def _run_open(self, trees: list[_Growing]) -> None:
        """What the head makes of the open nodes, run together with those before them."""
        windows, features = [], []
        for tree in trees:
            before = {node: index for index, node in enumerate(tree.run)}
            tree.run += tree.open
            place = {node: index for index, node in enumerate(tree.run)} | {-1: -1}
            shape = TreeShape(0, tuple(place[tree.parents[node]] for node in tree.run))
            tree.follower.shadow.pages = tree.sequence.pages
            tokens = [tree.tokens[node] for node in tree.run]
            windows.append(Window(tree.follower.shadow, tokens, shape, range(0), decodes=True))
            known = [tree.root] if tree.outputs is None else [tree.root, tree.outputs]
            sources = torch.tensor([1 + before.get(tree.parents[node], -1) for node in tree.run])
            features.append(torch.cat(known)[sources])
        outputs = self._forward(windows, features)
        for tree, window in zip(trees, windows, strict=True):
            tree.outputs = outputs[window.start : window.start + len(tree.run)]
