"""The losses: next tokens on clean rows, own tokens on mask rows, and the pull of mask rows to the AR rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from models.decoder import Attention, Decoder
from models.training.block_mask import BlockLayout, CausalAttention, DoubledAttention

Objective = Literal["ar", "tidar"]
DiffusionTarget = Literal["ce", "kl", "both"]


@dataclass
class Losses:
    """Mean nats per row: `total` is what is minimised; `diffusion` is the cross-entropy of mask rows, for the log."""

    total: Tensor
    ar: Tensor
    diffusion: Tensor | None = None


class ForwardPass:
    """Runs a decoder whose master weights stay as they are, computing in `dtype`; gradients reach the masters."""

    def __init__(self, decoder: Decoder, dtype: torch.dtype) -> None:
        self.decoder, self.dtype = decoder, dtype

    def logits(self, token_ids: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """int64 token_ids and positions [tokens] to float32 logits [tokens, vocab]."""
        if self.dtype == torch.float32:
            hidden = self.decoder(token_ids, positions, attention)
            return self.decoder.logits(hidden).float()
        tensors = dict(self.decoder.named_parameters()) | dict(self.decoder.named_buffers())
        cast = {name: tensor.to(self.dtype) for name, tensor in tensors.items()}
        hidden = functional_call(self.decoder, cast, (token_ids, positions, attention))
        head = cast["embed.weight"] if self.decoder.head is None else cast["head.weight"].t()
        return F.linear(hidden, head).float()


def ar_losses(forward: ForwardPass, windows: Tensor) -> Losses:
    """Plain pre-training on windows int64 [batch, S + 1]: each of the first S tokens predicts the next."""
    inputs, targets = windows[:, :-1], windows[:, 1:]
    logits = forward.logits(inputs.flatten(), _positions(inputs), CausalAttention(*inputs.shape))
    loss = F.cross_entropy(logits, targets.flatten())
    return Losses(loss, loss)


def doubled_logits(
    forward: ForwardPass, inputs: Tensor, layout: BlockLayout, mask_token_id: int
) -> tuple[Tensor, Tensor]:
    """AR and mask logits, float32 [batch, S, vocab] each, of clean inputs int64 [batch, S] and masks in their place."""
    batch, length = inputs.shape
    tokens = torch.cat([inputs.flatten(), torch.full_like(inputs, mask_token_id).flatten()])
    attention = DoubledAttention(batch, layout, inputs.device)
    logits = forward.logits(tokens, _positions(inputs).repeat(2), attention)
    clean, masks = logits.unflatten(0, (2, batch, length))
    return clean, masks


def tidar_losses(
    forward: ForwardPass,
    windows: Tensor,
    layout: BlockLayout,
    mask_token_id: int,
    target: DiffusionTarget = "ce",
    alpha: float = 1.0,
) -> Losses:
    """The dual loss (alpha · AR + diffusion) / (1 + alpha) on windows int64 [batch, S + 1].

    `target` is what mask rows learn: the data ("ce"), the AR row that predicts the same position, held fixed ("kl"),
    or the mean of the two ("both").
    """
    inputs, nexts = windows[:, :-1], windows[:, 1:]
    clean, masks = doubled_logits(forward, inputs, layout, mask_token_id)
    ar = F.cross_entropy(clean.flatten(0, 1), nexts.flatten())
    # position 0 has no AR row before it, so masks start to count at position 1
    student = masks[:, 1:].flatten(0, 1).log_softmax(-1)
    data = F.nll_loss(student, inputs[:, 1:].flatten())
    diffusion = data
    if target != "ce":
        teacher = clean[:, :-1].detach().flatten(0, 1).log_softmax(-1)
        pull = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        diffusion = pull if target == "kl" else (data + pull) / 2
    return Losses((alpha * ar + diffusion) / (1 + alpha), ar.detach(), data.detach())


def _positions(inputs: Tensor) -> Tensor:
    batch, length = inputs.shape
    return torch.arange(length, device=inputs.device).repeat(batch)
