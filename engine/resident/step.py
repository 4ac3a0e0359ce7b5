"""One step of a resident batch: from its state to its next state, with no look from the host in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.resident.attention import ResidentAttention
from engine.resident.rows import window_rows
from engine.resident.sampling import Draw, ResidentSampler
from engine.resident.state import NO_DRAFT, ResidentState
from engine.resident.verify import accepted_lengths, chosen_rows
from engine.window import WindowShape
from models.decoder import Decoder

#: up to so many rows all are scored at once: reading the head twice costs more than rows that nobody asked for
WHOLE_HEAD_ROWS = 128

#: acceptance lengths [batch] from candidates and sampled tokens [batch, clean]
Accepts = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Said:
    """What one sequence's window said: the drafts it had beside d_0, its new tokens, and the drafts it left."""

    drafted: int
    tokens: list[int]
    drafts: list[int]
    broken: bool


class ResidentStep:
    """forward → AR head on clean rows → sample → accept → head on the group that came true → next state, in place."""

    def __init__(
        self,
        model: Decoder,
        attention: ResidentAttention,
        sampler: ResidentSampler,
        mask_token_id: int | None,
        accepts: Accepts = accepted_lengths,
    ) -> None:
        self.model = model
        self.attention = attention
        self.sampler = sampler
        self.mask_token_id = mask_token_id or 0
        self.accepts = accepts

    @torch.inference_mode()
    def __call__(self, state: ResidentState, shape: WindowShape, context: int, draw: Draw) -> Tensor:
        """Move `state` on and return what `read` understands, int64 [batch, 3 + shape.clean + drafts].

        `context` is at least every live prefix. Rows that are not alive are computed like the others, from prefix 0.
        """
        prefix = state.table[:, 0] * state.alive
        state.table[:, 0] = prefix
        ids, positions = window_rows(state, shape, self.mask_token_id, self.model.config.max_position_embeddings)
        attention = self.attention.prepare(state.table, shape, context)
        hidden = self.model(ids, positions, attention).unflatten(0, (state.batch, shape.rows))
        scored = self._scored(hidden, shape)
        logits = _wide(scored[:, : shape.clean].flatten(0, 1))
        next_positions = prefix.long()[:, None] + torch.arange(1, shape.clean + 1, device=state.device)
        sampled = self.sampler.sample(logits, state.settings, next_positions, draw)
        candidates = state.candidates[:, : shape.clean]
        accepted = self.accepts(candidates, sampled)
        drafted = (candidates[:, 1:] != NO_DRAFT).sum(1)
        broken = _broken(logits, drafted)
        drafts = self._drafts(state, shape, (hidden, scored), prefix.long() + accepted, accepted, draw)
        state.candidates[:, 0] = sampled.gather(1, accepted[:, None] - 1)[:, 0]
        state.candidates[:, 1:] = drafts
        state.table[:, 0] = prefix + accepted.to(torch.int32)
        return torch.cat([torch.stack([accepted, drafted, broken.long()], 1), sampled, drafts], 1)

    def _scored(self, hidden: Tensor, shape: WindowShape) -> Tensor:
        """Logits [batch, rows or clean, vocab]: of every row where one pass over the head is what costs."""
        rows = hidden if hidden.shape[0] * shape.rows <= WHOLE_HEAD_ROWS else hidden[:, : shape.clean]
        logits: Tensor = self.model.logits(rows.flatten(0, 1))
        return logits.view(len(hidden), -1, logits.shape[-1])

    def _drafts(
        self,
        state: ResidentState,
        shape: WindowShape,
        rows: tuple[Tensor, Tensor],
        prefix: Tensor,
        accepted: Tensor,
        draw: Draw,
    ) -> Tensor:
        """The next drafts, int64 [batch, K - 1], from each sequence's own group; NO_DRAFT without one.

        `rows`: the hidden states of all rows, and the logits that are there already.
        """
        hidden, scored = rows
        drafts = torch.full_like(state.candidates[:, 1:], NO_DRAFT)
        count = min(shape.group_length - 1, drafts.shape[1])
        if count < 1:
            return drafts
        masks, exist = chosen_rows(shape, accepted)
        if scored.shape[1] == shape.rows:
            logits = _picked(scored, masks[:, :count])
        else:
            logits = self.model.logits(_picked(hidden, masks[:, :count]))
        positions = prefix[:, None] + torch.arange(1, count + 1, device=state.device)
        drawn = self.sampler.sample(_wide(logits), state.settings, positions, draw)
        drafts[:, :count] = torch.where(exist[:, None], drawn, NO_DRAFT)
        return drafts


def read(packed: Tensor, shape: WindowShape) -> list[Said]:
    """What a step returned, once it is on the host."""
    said = []
    for accepted, drafted, broken, *rest in packed.tolist():
        drafts = [token for token in rest[shape.clean :] if token != NO_DRAFT]
        said.append(Said(drafted, rest[:accepted], drafts, bool(broken)))
    return said


def _broken(logits: Tensor, drafted: Tensor) -> Tensor:
    """Whether a row that could commit a token holds a NaN or an infinity, bool [batch]."""
    damaged = ~torch.isfinite(logits.sum(-1)).view(len(drafted), -1)
    targets = torch.arange(damaged.shape[1], device=logits.device) <= drafted[:, None]
    return (damaged & targets).any(1)


def _picked(rows: Tensor, index: Tensor) -> Tensor:
    """Of rows [batch, rows, size], those of `index` [batch, picked], as [batch · picked, size]."""
    return rows.gather(1, index[:, :, None].expand(-1, -1, rows.shape[2])).flatten(0, 1)


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.to(torch.float32)
