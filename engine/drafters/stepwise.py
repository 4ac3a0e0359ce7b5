"""Drafting token by token with a cache of its own, over the pages that the sequences have anyway."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.messages import Submit
from engine.params import SamplingParams
from engine.sampling.row import Row
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence
from engine.strategies.drafter import Decided, Drafter
from engine.window import Window, WindowShape

#: tokens that a sequence gets pages for, if there are any left
Reserve = Callable[[Sequence, int], bool]


@dataclass(eq=False)
class Follower:
    """Where the drafter's cache stands with one sequence: `shadow` has its pages and the drafter's own prefix."""

    shadow: Sequence
    preemptions: int

    @classmethod
    def of(cls, sequence: Sequence) -> Follower:
        submit = Submit(request_id=sequence.request_id, prompt_token_ids=[0], params=SamplingParams())
        return cls(Sequence(submit, 0, 2, frozenset()), sequence.preemptions)

    def window(self, sequence: Sequence, tokens: list[int]) -> Window:
        """Causal rows behind the drafter's prefix."""
        self.shadow.pages = sequence.pages
        return Window(self.shadow, tokens, WindowShape(len(tokens)), range(0), decodes=True)


class StepwiseDrafter(Drafter):
    """One forward of the small model catches up with what was committed and gives the first draft; one more forward
    for each further draft.

    Its K/V lie in a storage of its own under the sequences' page numbers, so a prefix that another sequence has left in
    the cache serves it too, and nothing has to be allocated or freed. Drafts are drawn with the noise of their
    positions, as the tokens that decide on them are.
    """

    def __init__(self, sampler: Sampler, reserve: Reserve) -> None:
        self.sampler = sampler
        self._reserve = reserve
        self._followers: dict[str, Follower] = {}

    def forget(self, sequence: Sequence) -> None:
        self._followers.pop(sequence.request_id, None)

    @torch.inference_mode()
    def propose(self, decided: list[Decided], hidden: Tensor, draft_length: int) -> None:
        alive = [d for d in decided if d.window.sequence.finish_reason is None]
        ready = self.catch_up(alive, drafting=draft_length > 1)
        wanted = {i: self._wanted(sequence, draft_length) for i, (sequence, _) in enumerate(ready)}
        drafting = [i for i, count in wanted.items() if count > 0]
        if not drafting:
            return
        logits = self.first_logits(drafting)
        while drafting:
            sequences = [ready[i][0] for i in drafting]
            rows = [Row(s, len(s.tokens) + len(s.drafts), list(s.drafts)) for s in sequences]
            for sequence, token in zip(sequences, self.sampler.sample(logits, rows), strict=True):
                sequence.drafts.append(token)
            going_on = [n for n, i in enumerate(drafting) if len(ready[i][0].drafts) < wanted[i]]
            drafting = [drafting[n] for n in going_on]
            if drafting:
                logits = self.next_logits([ready[i] for i in drafting], going_on)

    @abstractmethod
    def catch_up(self, alive: list[Decided], drafting: bool) -> list[tuple[Sequence, Follower]]:
        """Bring the cache up to the committed tokens, and say for whom that is done and a draft may follow."""

    @abstractmethod
    def first_logits(self, chosen: list[int]) -> Tensor:
        """Scores [len(chosen), vocab_size] of the first drafts, of these of the sequences that `catch_up` returned."""

    @abstractmethod
    def next_logits(self, ready: list[tuple[Sequence, Follower]], kept: list[int]) -> Tensor:
        """Scores of the drafts after each sequence's last; `kept` says which of the rows before belong to them."""

    def follower(self, sequence: Sequence) -> Follower:
        """The sequence's own; a new one where it is new, or has lost its K/V."""
        follower = self._followers.get(sequence.request_id)
        if follower is None or follower.preemptions != sequence.preemptions:
            follower = self._followers[sequence.request_id] = Follower.of(sequence)
        return follower

    def _wanted(self, sequence: Sequence, draft_length: int) -> int:
        """Drafts beside d_0 that the sequence can use and has pages for."""
        count = min(draft_length, sequence.remaining) - 1
        if count > 1 and not self._reserve(sequence, len(sequence.tokens) + count - 1):
            return 1
        return count
