"""Muon for the matrices between the layers, AdamW for embeddings, norms and biases, stepped as one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.decoder import Decoder


class Optimizer:
    """Two torch optimisers behind one step; `lr` is an AdamW-sized rate, which Muon's updates are scaled to match."""

    def __init__(self, decoder: Decoder, lr: float, weight_decay: float) -> None:
        matrices, rest = _split(decoder)
        self.lr = lr
        muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        adamw = torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
        self.parts: list[torch.optim.Optimizer] = [muon, adamw]

    def step(self, factor: float) -> None:
        """Apply the gradients at `factor` times the peak rate, then drop them."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.lr * factor
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def _split(decoder: Decoder) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Matrices inside the layers, and everything else."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in decoder.named_parameters():
        (matrices if name.startswith("layers.") and parameter.ndim == 2 else rest).append(parameter)
    return matrices, rest
