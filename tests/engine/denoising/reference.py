"""Denoising of one sequence as it is described: no cache, no pages, no batch; each forward computes the whole text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.messages import Submit
from engine.sampling.row import Row
from engine.sampling.sampler import Sampler
from engine.sequence import Sequence
from models.decoder import Decoder
from tests.engine.reference import MaskedAttention
from tests.engine.tiny import CONTEXT, EOS

#: up to where a position sees
Sees = Callable[[int], int]
#: how sure a row [vocab] is of a token
Sure = Callable[[Tensor, int], float]


def probability(logits: Tensor, token: int) -> float:
    return float(logits.softmax(-1)[token])


def margin(logits: Tensor, token: int) -> float:
    first, second = logits.softmax(-1).topk(2).values.tolist()
    return float(first - second)


def entropy(logits: Tensor, token: int) -> float:
    return float(sum(p * math.log(p) for p in logits.softmax(-1).tolist() if p > 0))


@dataclass
class Text:
    """A prompt and what comes after it; None is a mask. `logprobs` are of the forward that decided each position."""

    decoder: Decoder
    mask_token_id: int
    submit: Submit
    shift: int = 0
    tokens: list[int | None] = field(default_factory=list)
    logprobs: dict[int, float] = field(default_factory=dict)
    forwards: int = 0

    def __post_init__(self) -> None:
        self.tokens = list(self.submit.prompt_token_ids)
        self.prompt_len = len(self.tokens)

    @property
    def wanted(self) -> int:
        assert self.submit.params.max_tokens is not None
        return self.prompt_len + self.submit.params.max_tokens

    def masked(self, first: int, last: int) -> list[int]:
        return [p for p in range(first, min(last, len(self.tokens))) if self.tokens[p] is None]

    def said(self) -> list[int]:
        """The output so far: up to the first mask, the limit, or a token that ends it."""
        said: list[int] = []
        for token in self.tokens[self.prompt_len : self.wanted]:
            if token is None:
                break
            said.append(token)
            if token == EOS and not self.submit.params.ignore_eos:
                break
        return said

    @property
    def finished(self) -> bool:
        said = self.said()
        return len(said) == self.wanted - self.prompt_len or (
            bool(said) and said[-1] == EOS and not self.submit.params.ignore_eos
        )

    def look(self, sees: Sees, positions: list[int], frozen: int = 0) -> dict[int, tuple[int, Tensor]]:
        """For each of these masks the sampled token and the logits it came from, the mask itself ruled out.

        The first `frozen` rows are computed as if all after them were masks.
        """
        rows = len(self.tokens)
        mask = torch.zeros(rows, rows, dtype=torch.bool)
        for position in range(rows):
            mask[position, : sees(position)] = True
        ids = torch.tensor([self.mask_token_id if token is None else token for token in self.tokens])
        with torch.inference_mode():
            before = ids.where(torch.arange(rows) < frozen, self.mask_token_id)
            both, places = torch.cat([before, ids]), torch.arange(rows).clamp(max=CONTEXT - 1).repeat(2)
            hidden = self.decoder(both, places, MaskedAttention(self._twice(mask, frozen)))[rows:]
            logits = self.decoder.logits(hidden)[[p - self.shift for p in positions]].clone()
            logits[:, self.mask_token_id] = float("-inf")
        sampled = self._sample(logits, positions)
        self.forwards += 1
        return {p: (token, row) for p, token, row in zip(positions, sampled, logits, strict=True)}

    @staticmethod
    def _twice(mask: Tensor, frozen: int) -> Tensor:
        """The text as it was sees itself; the text as it is sees the first `frozen` rows as they were."""
        rows = len(mask)
        twice = torch.zeros(2 * rows, 2 * rows, dtype=torch.bool)
        twice[:rows, :rows] = mask
        twice[rows:, :frozen] = mask[:, :frozen]
        twice[rows:, rows + frozen :] = mask[:, frozen:]
        return twice

    def decide(self, position: int, token: int, logits: Tensor) -> None:
        self.tokens[position] = token
        self.logprobs[position] = float(logits.log_softmax(-1)[token])

    def _sample(self, logits: Tensor, positions: list[int]) -> list[int]:
        sequence = Sequence(self.submit, self.submit.params.seed or 0, 10**6, frozenset({EOS}))
        if self.submit.params.ignore_eos:
            sequence.stop_token_ids = frozenset()
        sequence.tokens = [token for token in self.tokens if token is not None]
        rows = [Row(sequence, position, []) for position in positions]
        return Sampler(logits.shape[-1], torch.device("cpu")).sample(logits, rows)


@dataclass(frozen=True)
class Rule:
    """Which masks of a block become tokens: the surest (or leftmost), at least a share, and all above a threshold."""

    sure: Sure = probability
    threshold: float = math.inf
    steps: int | None = None
    leftmost: bool = False

    def pick(self, seen: dict[int, tuple[int, Tensor]], step: int) -> list[int]:
        sure = {p: self.sure(logits, token) for p, (token, logits) in seen.items()}
        order = sorted(sure) if self.leftmost else sorted(sure, key=lambda p: (-sure[p], p))
        least = 1 if self.steps is None else math.ceil(len(order) / max(1, self.steps - step))
        picked = order[:least]
        for p in order[least:]:
            if min(sure[q] for q in [*picked, p]) <= self.threshold:
                break
            picked.append(p)
        return picked


def block_diffusion(text: Text, length: int, clean: str, rule: Rule) -> Text:
    """One block after the other.

    Blocks are counted from position 0 (`aligned`) or begin behind the prompt. Then final tokens are `causal`, or the
    `prompt` sees itself in both directions and so does every block after it.
    """
    aligned = clean == "aligned"
    start = text.prompt_len // length * length if aligned else text.prompt_len
    while not text.finished:
        text.tokens += [None] * (start + length - len(text.tokens))
        ends = list(range(1, start + 1))
        if aligned:
            ends = [position // length * length + length for position in range(start)]
        elif clean == "prompt":
            after = range(start - text.prompt_len)
            ends = [text.prompt_len] * text.prompt_len
            ends += [text.prompt_len + i // length * length + length for i in after]
        ends += [start + length] * length
        step = 0
        while masked := text.masked(start, start + length):
            seen = text.look(ends.__getitem__, masked)
            for p in rule.pick(seen, step):
                text.decide(p, *seen[p])
            step += 1
            if text.finished:
                break
        start += length
    return text


def d2f(text: Text, length: int, sure: float, add: float = 0.1, activate: float = 0.95) -> Text:
    """A pipeline of blocks behind a prompt that sees itself in both directions."""
    first = text.prompt_len

    def sees(position: int) -> int:
        return first if position < first else first + ((position - first) // length + 1) * length

    def decided(block: int) -> float:
        return 1 - len(text.masked(first + block * length, first + (block + 1) * length)) / length

    blocks = 0
    while not text.finished:
        ended = EOS in text.tokens[first:] and not text.submit.params.ignore_eos
        if (blocks == 0 or decided(blocks - 1) >= add) and not ended and len(text.tokens) < text.wanted:
            text.tokens += [None] * length
            blocks += 1
        seen = text.look(sees, text.masked(first, len(text.tokens)))
        forced = [b for b in range(blocks) if b == 0 or decided(b - 1) >= activate]
        for block in range(blocks):
            mine = {
                p: probability(logits, token) for p, (token, logits) in seen.items() if (p - first) // length == block
            }
            chosen = [p for p in mine if mine[p] > sure]
            if mine and not chosen and block in forced:
                chosen = [min(mine, key=lambda p: (-mine[p], p))]
            for p in chosen:
                text.decide(p, *seen[p])
    return text


def llada(text: Text, length: int, rule: Rule) -> Text:
    """The whole canvas in both directions; the masks of one block after the other become tokens."""
    text.tokens += [None] * (text.wanted - text.prompt_len)
    for start in range(text.prompt_len, text.wanted, length):
        step = 0
        while (masked := text.masked(start, start + length)) and not text.finished:
            seen = text.look(lambda position: text.wanted, masked)
            for p in rule.pick(seen, step):
                text.decide(p, *seen[p])
            step += 1
    return text


def llada_cached(text: Text, length: int, rule: Rule) -> Text:
    """As `llada`, but what lies before a block is seen as it was in the block's first forward, when all masks of the
    block and behind it were there.

    Each layer's rows before the block are those of that forward, so here the text is computed twice: once as it was,
    for these rows, and once as it is.
    """
    text.tokens += [None] * (text.wanted - text.prompt_len)
    for start in range(text.prompt_len, text.wanted, length):
        step = 0
        while (masked := text.masked(start, start + length)) and not text.finished:
            seen = text.look(lambda position: text.wanted, masked, frozen=start)
            for p in rule.pick(seen, step):
                text.decide(p, *seen[p])
            step += 1
    return text


def dream(text: Text, sure: Sure, steps: int | None) -> Text:
    """The whole canvas in both directions, on Dream's schedule of times from 1 to a thousandth."""
    text.tokens += [None] * (text.wanted - text.prompt_len)
    steps = steps or text.wanted - text.prompt_len
    times = [1 + (1e-3 - 1) * i / steps for i in range(steps + 1)]
    for i in range(steps):
        masked = text.masked(text.prompt_len, text.wanted)
        if text.finished:
            break
        seen = text.look(lambda position: text.wanted, masked)
        number = int(len(masked) * (1 - times[i + 1] / times[i])) if i < steps - 1 else len(masked)
        order = sorted(masked, key=lambda p: (-sure(seen[p][1], seen[p][0]), p))
        for p in order[:number]:
            text.decide(p, *seen[p])
    return text
