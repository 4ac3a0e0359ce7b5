"""What masks are asked and how they answer: blocks along a model's answers, against its frozen keys and values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.decoder import Decoder
from models.linear import Linear
from models.training.adapter.answers import Answer
from models.training.adapter.attention import OnRecorded, Recorder

#: label of a mask behind the end of its answer
NOTHING = -100


@dataclass(frozen=True)
class Blocks:
    """Mask blocks over some answers. starts: per answer, int64 [blocks], where each block begins in its sequence."""

    answers: list[Answer]
    starts: list[Tensor]
    draft_length: int

    def labels(self) -> Tensor:
        """int64 [all blocks, draft_length]: the token that stands at each mask's position, or NOTHING."""
        parts = []
        for answer, starts in zip(self.answers, self.starts, strict=True):
            padded = torch.tensor(answer.tokens + [NOTHING] * self.draft_length)
            parts.append(padded[starts[:, None] + torch.arange(self.draft_length)])
        return torch.cat(parts)


def every(stride: int, offset: int, answer: Answer) -> Tensor:
    """Starts int64 [blocks], one every `stride` tokens of an answer, whose first token is at `offset` 0.

    A block begins where a token is known from the AR row alone, so it must leave one token at least to draft.
    """
    first = len(answer.prompt)
    return torch.arange(first + min(offset, len(answer.answer) - 2), len(answer.tokens) - 1, stride)


def mask_hidden(decoder: Decoder, blocks: Blocks) -> Tensor:
    """Hidden states [all blocks, draft_length, hidden_size] of the masks; gradients reach the adapter alone."""
    device, k = decoder.cos.device, blocks.draft_length
    recorder = Recorder([len(answer.tokens) for answer in blocks.answers])
    tokens = torch.tensor([token for answer in blocks.answers for token in answer.tokens], device=device)
    positions = torch.cat([torch.arange(length) for length in recorder.lengths]).to(device)
    with torch.no_grad():
        decoder(tokens, positions, recorder)
    starts = [each.to(device) for each in blocks.starts]
    places = torch.arange(k, device=device)
    positions = (torch.cat(starts)[:, None] + places).clamp(max=decoder.config.max_position_embeddings - 1)
    ids = (decoder.config.vocab_size + places).expand(len(positions), -1)
    rows: Tensor = decoder(ids.flatten(), positions.flatten(), OnRecorded(recorder, starts, k))
    hidden: Tensor = rows.unflatten(0, (-1, k))
    return hidden


def loss(decoder: Decoder, blocks: Blocks, weights: Tensor, candidates: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats of the masks against the answers, weighted by place with `weights` [draft_length], to
    minimise; and, for the log, the share of right masks by place, [draft_length].

    The first mask of a block stands where the AR row decides, and matters only for what the others read from it.
    `candidates`: sorted ids, every label among them, that compete; all tokens do where it is None.
    """
    hidden, labels = mask_hidden(decoder, blocks), blocks.labels().to(decoder.cos.device)
    known = labels != NOTHING
    targets = labels[known]
    if candidates is None:
        logits = decoder.logits(hidden[known]).float()
    else:
        logits = F.linear(hidden[known], _head(decoder)[candidates]).float()
        targets = torch.searchsorted(candidates, targets)
    scale = weights.to(logits.device).expand(labels.shape)[known]
    each = F.cross_entropy(logits, targets, reduction="none")
    right = torch.zeros(labels.shape, device=logits.device)
    right[known] = (logits.detach().argmax(-1) == targets).float()
    return (each * scale).sum() / scale.sum(), right.sum(0) / known.sum(0).clamp(min=1)


def _head(decoder: Decoder) -> Tensor:
    """What hidden states are scored with, [vocab_size, hidden_size]."""
    if decoder.head is None:
        return decoder.embed.weight
    assert isinstance(decoder.head, Linear)
    return decoder.head.weight.t()
