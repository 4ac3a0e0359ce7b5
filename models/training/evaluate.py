"""What a checkpoint is worth for drafting, measured along real text that it has never seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.training.block_mask import BlockLayout
from models.training.objective import ForwardPass, doubled_logits


@dataclass(frozen=True)
class Evaluation:
    """Losses in nats per token; `agreement[i]` is how often mask i of a block has the AR row's argmax.

    `tokens_per_forward` is the teacher-forced expectation: 1 + the mean number of masks 1, 2, .. in a row that agree
    with the AR rows along the text. Mask 0 does not count, since the AR row decides its position.
    """

    loss_ar: float
    loss_diffusion: float
    agreement: tuple[float, ...]
    tokens_per_forward: float

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@torch.no_grad()
def evaluate(forward: ForwardPass, windows: Tensor, draft_length: int, mask_token_id: int) -> Evaluation:
    """Measure on windows int64 [batch, S + 1], S a multiple of `draft_length`; the first block, without an AR row, is
    left out.
    """
    inputs, nexts = windows[:, :-1], windows[:, 1:]
    layout = BlockLayout(inputs.shape[1], draft_length)
    clean, masks = doubled_logits(forward, inputs, layout, mask_token_id)
    agrees = masks[:, draft_length:].argmax(-1) == clean[:, draft_length - 1 : -1].argmax(-1)
    blocks = agrees.unflatten(1, (-1, draft_length)).flatten(0, 1).double()
    in_a_row = blocks[:, 1:].cumprod(1).sum(1)
    return Evaluation(
        loss_ar=float(F.cross_entropy(clean.flatten(0, 1), nexts.flatten())),
        loss_diffusion=float(F.cross_entropy(masks[:, 1:].flatten(0, 1), inputs[:, 1:].flatten())),
        agreement=tuple(blocks.mean(0).tolist()),
        tokens_per_forward=1.0 + float(in_a_row.mean()),
    )


def evaluate_in_parts(
    forward: ForwardPass, windows: Tensor, draft_length: int, mask_token_id: int, size: int = 8
) -> Evaluation:
    """`evaluate` on many windows, `size` at a time to bound memory."""
    parts = [(len(part), evaluate(forward, part, draft_length, mask_token_id)) for part in windows.split(size)]

    def mean(values: list[float]) -> float:
        return sum(count * value for (count, _), value in zip(parts, values, strict=True)) / len(windows)

    return Evaluation(
        loss_ar=mean([part.loss_ar for _, part in parts]),
        loss_diffusion=mean([part.loss_diffusion for _, part in parts]),
        agreement=tuple(mean([part.agreement[i] for _, part in parts]) for i in range(draft_length)),
        tokens_per_forward=mean([part.tokens_per_forward for _, part in parts]),
    )
