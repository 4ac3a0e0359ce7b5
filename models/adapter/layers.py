"""Layers that add an adapter to a decoder's own: clean rows get the base's bits, mask rows a low-rank change."""

from __future__ import annotations

from torch import Tensor, nn


class MaskRows:
    """Which rows of the forward in progress are masks, int64 [masks]; the embedding sets it, the layers read it."""

    def __init__(self) -> None:
        self.rows: Tensor | None = None
        #: every row of the forward is a mask
        self.all = False


class MaskEmbedding(nn.Embedding):
    """`base`, on the same table, for the ids of its vocabulary, learned vectors for the ids behind it.

    Id vocab_size + i is the mask at place i of its group; places beyond the last vector take the last.
    """

    def __init__(self, base: nn.Embedding, vectors: Tensor, masks: MaskRows) -> None:
        """vectors: [places, hidden_size]."""
        super().__init__(base.num_embeddings, base.embedding_dim, device="meta")
        self.weight = base.weight
        self.vectors = nn.Parameter(vectors, requires_grad=False)
        self.masks = masks

    def forward(self, token_ids: Tensor) -> Tensor:
        """int64 [tokens] to [tokens, hidden_size]; tells the layers which rows are masks."""
        vocab = self.num_embeddings
        rows = (token_ids >= vocab).nonzero().flatten()
        self.masks.rows, self.masks.all = (rows if len(rows) else None), len(rows) == len(token_ids)
        if not len(rows):
            return super().forward(token_ids)
        places = (token_ids[rows] - vocab).clamp(max=len(self.vectors) - 1)
        return super().forward(token_ids.clamp(max=vocab - 1)).index_copy(0, rows, self.vectors[places])


class AdaptedLinear(nn.Module):
    """y = base(x) (+ residual), and on mask rows + (x @ down) @ up; down [in, rank], up [rank, out]."""

    def __init__(self, base: nn.Module, down: Tensor, up: Tensor, masks: MaskRows) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(down, requires_grad=False)
        self.up = nn.Parameter(up, requires_grad=False)
        self.masks = masks

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.adapt(self.base(x, residual), x)

    def adapt(self, y: Tensor, x: Tensor) -> Tensor:
        """Add the change for inputs x to y, which has all rows as without the adapter; only the masks' are touched."""
        if self.masks.rows is None:
            return y
        if self.masks.all:
            return y.addmm_(x @ self.down, self.up)
        return y.index_add_(0, self.masks.rows, (x.index_select(0, self.masks.rows) @ self.down) @ self.up)
