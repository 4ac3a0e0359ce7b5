"""Layers of a decoder that several processes share: where what the ranks computed is added up."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from models.decoder import Decoder
from models.share import Share


class Communicator(Protocol):
    """What a decoder needs of its neighbours."""

    def add(self, x: Tensor) -> Tensor:
        """x of all ranks added up, in x's own memory; the same bits everywhere. Every rank has to call it."""
        ...


#: the linear layers of which each rank has some inputs
ADDED = ("output", "down")


def drop_added_biases(decoder: Decoder) -> None:
    """On all ranks but the first: a bias is added in once, not by every rank."""
    for layer in decoder.layers:
        for name in ADDED:
            bias = getattr(layer, name).bias
            if bias is not None:
                bias.zero_()


def join_layers(decoder: Decoder, share: Share, communicator: Communicator) -> None:
    """Let the ranks add up what they compute, in place; to be done last, when the layers have been packed or fused."""
    for layer in decoder.layers:
        for name in ADDED:
            setattr(layer, name, SummedLinear(getattr(layer, name), share.rank == 0, communicator))


class SummedLinear(nn.Module):
    """A linear layer of which each rank has some inputs; the residual comes in once, with rank 0's product."""

    def __init__(self, linear: nn.Module, first: bool, communicator: Communicator) -> None:
        super().__init__()
        self.linear = linear
        self.first = first
        self.communicator = communicator

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        product: Tensor = self.linear(x, residual if self.first else None)
        return self.communicator.add(product)
