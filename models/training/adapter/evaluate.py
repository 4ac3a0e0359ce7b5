"""What an adapter is worth: the walk that decoding would take along answers it has not seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from models.adapter import storage
from models.adapter.config import AdapterConfig
from models.checkpoint import load_decoder
from models.decoder import Decoder
from models.training.adapter.answers import Answer, read_answers
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


def measure_adapter(
    model: Path, adapter: Path, held_out: Path, draft_lengths: list[int], limit: int | None = None
) -> dict[int, dict[str, object]]:
    """`evaluate` of an exported adapter for several draft lengths, in float32 on the CPU. Raises ModelError."""
    decoder = load_decoder(model, torch.float32)
    storage.apply(decoder, storage.read_tensors(AdapterConfig.read(adapter), decoder))
    answers = read_answers(held_out, decoder.config.vocab_size, decoder.config.max_position_embeddings)[:limit]
    return {k: evaluate(decoder, answers, k).to_dict() for k in draft_lengths}


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
