"""What an adapter is worth: the walk that decoding would take along answers it has not seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from models.decoder import Decoder
from models.training.adapter.answers import Answer
from models.training.adapter.objective import Blocks, every, mask_hidden


@dataclass(frozen=True)
class Worth:
    """`tokens_per_forward` with all pre-draft groups, over `tokens` tokens decoded; `right[i]` is how often mask i of
    a block, wherever it begins, is the token at its place."""

    tokens_per_forward: float
    right: tuple[float, ...]
    tokens: int

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@torch.no_grad()
def evaluate(decoder: Decoder, answers: list[Answer], draft_length: int) -> Worth:
    """Draft at every token of every answer, then walk along it as decoding does.

    The first token comes from the prompt's forward, and each forward after it commits the token it is sure of and the
    drafts that are right.
    """
    forwards = tokens = 0
    right, known = torch.zeros(draft_length), torch.zeros(draft_length)
    for answer in answers:
        blocks = Blocks([answer], [every(1, 0, answer)], draft_length)
        labels = blocks.labels()
        drafted = decoder.logits(mask_hidden(decoder, blocks).flatten(0, 1)).argmax(-1).cpu().view(labels.shape)
        agrees = drafted == labels
        right += agrees.sum(0)
        known += (labels >= 0).sum(0)
        accepted = agrees[:, 1:].int().cumprod(1).sum(1).tolist()
        # at `place`, the token there is known and the drafts after it are about to be verified
        place, last = 0, len(answer.answer) - 1
        while place < last:
            place += min(accepted[place] + 1, last - place)
            forwards += 1
        tokens += last
    return Worth(tokens / max(1, forwards), tuple((right / known.clamp(min=1)).tolist()), tokens)
