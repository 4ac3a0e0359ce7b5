"""LoRA that acts on drafting rows alone: Nemotron-Labs-Diffusion's `linear_spec_lora`, I-DLM's gated LoRA.

Published as PEFT folders. Rows that verify run the base weights untouched, so that it changes drafts and no token.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from models.adapter.layers import AdaptedLinear, MaskRows
from models.decoder import Decoder
from models.layout import Place, places
from models.lora import LowRank, read_lora


class GatedEmbedding(nn.Embedding):
    """`base`, on the same table, where id vocab_size + t is token t on a row that drafts."""

    def __init__(self, base: nn.Embedding, drafting: MaskRows) -> None:
        super().__init__(base.num_embeddings, base.embedding_dim, device="meta")
        self.weight = base.weight
        self.drafting = drafting

    def forward(self, token_ids: Tensor) -> Tensor:
        """int64 [tokens] to [tokens, hidden_size]; tells the layers which rows draft."""
        rows = (token_ids >= self.num_embeddings).nonzero().flatten()
        self.drafting.rows = rows if len(rows) else None
        self.drafting.all = len(rows) == len(token_ids)
        return super().forward(token_ids % self.num_embeddings)


def read_products(folder: Path, decoder: Decoder) -> dict[str, tuple[Tensor, Tensor]]:
    """The PEFT folder's low-rank products by the decoder parameter they belong to: down [in, rank], up [rank, out].

    Raises ModelError, one sentence, where the folder does not fit the model.
    """
    plan = list(places(decoder.config))
    products = read_lora(folder, plan)
    parts: dict[str, list[tuple[Place, LowRank]]] = {}
    for place in plan:
        if place.name in products:
            parts.setdefault(place.parameter, []).append((place, products[place.name]))
    sizes = {name: parameter.shape for name, parameter in decoder.named_parameters()}
    return {name: _side_by_side(found, sizes[name][1]) for name, found in parts.items()}


def apply_gated(decoder: Decoder, products: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Wrap the decoder's embedding and the linear layers that are adapted, packed or not, in place."""
    weight = decoder.embed.weight
    drafting = MaskRows()
    decoder.embed = GatedEmbedding(decoder.embed, drafting)
    for name, (down, up) in products.items():
        owner, linear = name.removesuffix(".weight").rpartition(".")[::2]
        module = decoder.get_submodule(owner)
        down, up = down.to(weight.device, weight.dtype), up.to(weight.device, weight.dtype)
        setattr(module, linear, AdaptedLinear(getattr(module, linear), down, up, drafting))


def _side_by_side(parts: list[tuple[Place, LowRank]], outputs: int) -> tuple[Tensor, Tensor]:
    """Products of tensors that lie side by side in one parameter of so many outputs, as one product."""
    down = torch.cat([product.a.t() for _, product in parts], 1)
    up = torch.zeros(down.shape[1], outputs)
    first = 0
    for place, product in parts:
        rank = product.a.shape[0]
        up[first : first + rank, place.start : place.start + place.shape[0]] = (product.b * product.scale).t()
        first += rank
    return down, up
