"""TiDAR for one sequence as the design words it: no cache, no pages, no batch; each step recomputes the whole text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.messages import Submit
from engine.sampling.row import Row
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence
from models.decoder import Decoder


@dataclass(frozen=True)
class MaskedAttention:
    """Softmax attention over the rows of one text, under a mask bool [rows, rows], True where a row sees a column."""

    mask: Tensor

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / q.shape[-1] ** 0.5
        weights = scores.masked_fill(~self.mask, float("-inf")).softmax(-1)
        return torch.einsum("hqk,khd->qhd", weights, v)


def causal_logits(decoder: Decoder, token_ids: list[int]) -> Tensor:
    """Logits [tokens, vocab] of a plain causal forward."""
    rows = len(token_ids)
    attention = MaskedAttention(torch.ones(rows, rows, dtype=torch.bool).tril())
    with torch.inference_mode():
        return decoder.logits(decoder(torch.tensor(token_ids), torch.arange(rows), attention))


@dataclass(frozen=True)
class Step:
    """What one step said: the tokens that became final, and the drafts it left for the next one."""

    tokens: list[int]
    drafts: list[int]

    @property
    def accepted(self) -> int:
        return len(self.tokens)


@dataclass
class Reference:
    """One request, decoded with `k` drafts per step; `groups` are the acceptance lengths that are pre-drafted for."""

    decoder: Decoder
    mask_token_id: int
    submit: Submit
    seed: int
    k: int
    groups: tuple[int, ...]

    def steps(self, count: int) -> list[Step]:
        """The prefill, then decode steps until `count` tokens are there; the last may bring more."""
        prompt = self.submit.prompt_token_ids
        ar, groups = self._forward(prompt, [], [0])
        first = self._sample(ar[-1:], prompt, [])
        steps = [Step(first, self._drafts(groups[0], prompt, first))]
        text = prompt + first
        while len(text) - len(prompt) < count:
            steps.append(self._step(text, steps[-1].drafts))
            text = text + steps[-1].tokens
        return steps

    def _step(self, text: list[int], drafts: list[int]) -> Step:
        """`text` ends with d_0, whose successors are `drafts`; without any, the step is cold."""
        prefix, candidates = text[:-1], [text[-1], *drafts]
        wanted = self.groups if drafts else (1,)
        ar, groups = self._forward(prefix, candidates, list(wanted))
        accepted = 1
        sampled = self._sample(ar[len(prefix) :][:1], text, [])
        while accepted < len(candidates) and candidates[accepted] == sampled[-1]:
            row = ar[len(prefix) + accepted][None]
            sampled += self._sample(row, text, candidates[1 : accepted + 1])
            accepted += 1
        if accepted not in wanted:
            return Step(sampled, [])
        return Step(sampled, self._drafts(groups[wanted.index(accepted)], text, sampled))

    def _forward(self, prefix: list[int], drafts: list[int], groups: list[int]) -> tuple[Tensor, list[Tensor]]:
        """AR logits of prefix and drafts, and the logits of each group of k masks that follows so many drafts."""
        clean, k = len(prefix) + len(drafts), self.k
        rows = clean + len(groups) * k
        mask = torch.zeros(rows, rows, dtype=torch.bool)
        mask[:clean, :clean] = torch.ones(clean, clean, dtype=torch.bool).tril()
        positions = list(range(clean))
        for index, j in enumerate(groups):
            own = slice(clean + index * k, clean + (index + 1) * k)
            mask[own, : len(prefix) + j] = True
            mask[own, own] = True
            positions += range(len(prefix) + j, len(prefix) + j + k)
        token_ids = torch.tensor(prefix + drafts + [self.mask_token_id] * (k * len(groups)))
        with torch.inference_mode():
            hidden = self.decoder(token_ids, torch.tensor(positions), MaskedAttention(mask))
            logits = self.decoder.logits(hidden)
        return logits[:clean], list(logits[clean:].split(k)) if groups else []

    def _drafts(self, masks: Tensor, text: list[int], final: list[int]) -> list[int]:
        """Masks 1..k-1 of a group, drawn with the noise of their own positions; mask 0's place has the AR token."""
        known = text + final
        rows = [Row(self._sequence(known), len(known) + i, []) for i in range(self.k - 1)]
        return self._sampler.sample(masks[1:], rows)

    def _sample(self, logits: Tensor, text: list[int], said: list[int]) -> list[int]:
        return self._sampler.sample(logits, [Row(self._sequence(text), len(text) + len(said), said)])

    @property
    def _sampler(self) -> Sampler:
        return Sampler(self.decoder.config.vocab_size, torch.device("cpu"))

    def _sequence(self, text: list[int]) -> Sequence:
        sequence = Sequence(self.submit, self.seed, 10**6, frozenset())
        sequence.tokens = list(text)
        return sequence
