"""Runs the model on one step's windows: lays out the batch, one forward, logits for the rows that are asked for."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from engine.attention.base import AttentionBackend
from engine.batch import Batch, lay_out
from engine.parallel.followers import Followers
from engine.strategies.base import Strategy
from engine.threads import Threads
from engine.window import Window
from models.decoder import Decoder, Tap

#: rows that nobody asks for from which on leaving them out pays
MANY_IDLE = 16


class Runner:
    """Owns the model and its attention back end; knows nothing of requests."""

    def __init__(
        self,
        model: Decoder,
        attention: AttentionBackend,
        strategy: Strategy,
        threads: Threads,
        tap: Tap | None = None,
        followers: Followers | None = None,
        narrows: bool = False,
    ) -> None:
        """`tap` is shown every layer's output in every forward; `followers` have the other parts of a split model and
        run every forward too. `narrows`: nobody reads the hidden states of rows that choose no token and draft none,
        so that a prompt's need not be finished."""
        self.model = model
        self.attention = attention
        self.strategy = strategy
        self.threads = threads
        self.tap = tap
        self.followers = followers
        self.narrows = narrows

    @torch.inference_mode()
    def forward(self, windows: list[Window]) -> Tensor:
        """Hidden states [rows, hidden_size] of all windows; each window's `start` says which rows are its own."""
        batch = self._lay_out(windows)
        wanted = self._wanted(batch) if self.narrows else None
        if self.followers is not None:
            self.followers.announce(batch)
        attention = self.attention.prepare(batch)
        hidden: Tensor = self.threads.run(
            len(batch.token_ids), lambda: self.model(batch.token_ids, batch.positions, attention, self.tap, wanted)
        )
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: Tensor, rows: list[int]) -> Tensor:
        """Logits [len(rows), vocab_size] of these rows of the flat batch, float32 or wider. `rows` is not empty."""
        if rows == list(range(rows[0], rows[0] + len(rows))):
            picked = hidden[rows[0] : rows[0] + len(rows)]
        else:
            picked = hidden.index_select(0, torch.tensor(rows, device=hidden.device))
        logits = self.model.logits(picked)
        return logits if logits.dtype == torch.float64 else logits.float()

    @torch.inference_mode()
    def keep(self, window: Window, rows: list[int]) -> None:
        """Give these rows of the window, in order, the places after its prefix: move the K/V of those not there yet.

        Pages for as many tokens as the window has clean rows are reserved; `rows` are no more.
        """
        storage, sequence = self.attention.storage, window.sequence
        moved = [(place, row) for place, row in enumerate(rows) if place != row]
        if not moved:
            return
        assert len(rows) <= window.shape.clean
        assert all(row >= window.shape.clean for _, row in moved)
        positions = [sequence.prefix_len + place for place, _ in moved]
        pages = sequence.pages
        size = storage.page_size
        slots = [pages[position // size] * size + position % size for position in positions]
        sources = [storage.scratch_start + window.start + row for _, row in moved]
        storage.move(sources, slots)

    @staticmethod
    def _wanted(batch: Batch) -> Tensor | None:
        """The rows that choose a token or draft one, int64, or None where these are nearly all."""
        idle = sum(max(0, window.shape.clean - len(window.targets)) for window in batch.windows)
        if idle < MANY_IDLE:
            return None
        rows: list[int] = []
        for window in batch.windows:
            if window.sequence.params.prompt_logprobs is not None:
                own: Iterable[int] = range(window.shape.rows)
            else:
                own = sorted({*window.targets, *range(window.shape.clean, window.shape.rows)})
            rows += [window.start + row for row in own]
        return torch.tensor(rows, dtype=torch.int64, device=batch.token_ids.device)

    def _lay_out(self, windows: list[Window]) -> Batch:
        token_ids = [self.strategy.fill(window) for window in windows]
        return lay_out(windows, token_ids, self.attention.storage, self.model.config.max_position_embeddings)
