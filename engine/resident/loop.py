"""One-ahead scheduling: step n + 1 is launched before the tokens of step n are read."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from engine.errors import NAN_MESSAGE
from engine.messages import Forward
from engine.policy.base import Policy
from engine.resident.batch import ResidentBatch, reach
from engine.resident.eligible import is_resident
from engine.resident.flight import Flight
from engine.resident.sampling import Draw
from engine.resident.shapes import bucket, resident_shape
from engine.resident.state import ResidentState
from engine.resident.step import Said
from engine.scheduler import Scheduler
from engine.sequence import Sequence
from engine.stats import StatsRecorder
from engine.window import Window, WindowShape

#: a step on this state, with this window, live prefixes up to so many tokens and this way to draw
Step = Callable[[ResidentState, WindowShape, int, Draw], Tensor]


class ResidentLoop:
    """Decodes while nothing needs the host: no prompt, no join, no setting that only the plain loop knows.

    `step` answers None where the next step is the plain loop's; then nothing is in flight, and every sequence knows
    its tokens, drafts and prefix as if the plain loop had brought it there.
    """

    def __init__(
        self,
        step: Step,
        state: ResidentState,
        scheduler: Scheduler,
        policy: Policy,
        recorder: StatsRecorder,
        scratch_page: int,
        vocab_size: int,
        graph_bytes: int = 0,
    ) -> None:
        #: device memory of the step's CUDA graphs
        self.graph_bytes = graph_bytes
        self._step = step
        self._state = state
        self._scheduler = scheduler
        self._policy = policy
        self._recorder = recorder
        self._scratch_page = scratch_page
        self._vocab_size = vocab_size
        self._batch: ResidentBatch | None = None
        self._flight: Flight | None = None
        self._cold = False
        self._read_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether a launched step is still to be read."""
        return self._flight is not None

    def step(self) -> list[Sequence] | None:
        """Launch a step, then read the one before it; returns the sequences whose tokens came, or None (see above)."""
        flight = self._flight
        following = self._launch(flight)
        if flight is None and following is None:
            self._batch = None
            return None
        self._flight = following
        if flight is None:
            self._read_at = time.perf_counter()
            return []
        return self._land(flight)

    def keep_pages(self, sequence: Sequence) -> None:
        """The sequence is leaving: if a step in flight may write to its pages, they stay taken until that is done."""
        if self._flight is not None and sequence in self._flight.sequences:
            self._flight.pages += sequence.pages
            sequence.pages = []

    @torch.inference_mode()
    def _launch(self, flight: Flight | None) -> Flight | None:
        """The next step over every running sequence, or None where there must not be one yet."""
        sequences = [sequence for sequence in self._scheduler.running if sequence.finish_reason is None]
        if not self._suitable(sequences, 0 if flight is None else 1):
            return None
        if flight is not None and (self._batch is None or not self._batch.holds(sequences)):
            return None
        load, budget = self._scheduler.load(), self._scheduler.max_num_batched_tokens
        choice = self._policy.choose(load, budget)
        if flight is None:
            self._cold = any(not sequence.drafts for sequence in sequences)
        shape = resident_shape(choice, bucket(len(sequences)), budget, self._cold)
        ahead = 0 if flight is None else flight.shape.clean
        if shape is None or not self._reserve(sequences, ahead, shape):
            return None
        if flight is None:
            self._batch = ResidentBatch(self._state, sequences, self._scratch_page, self._vocab_size)
        assert self._batch is not None
        self._batch.refresh()
        self._cold = choice.draft_length > 1 and not shape.groups
        self._recorder.chose(choice)
        context = max(sequence.prefix_len for sequence in sequences) + ahead
        packed = self._step(self._batch.state, shape, context, self._batch.draw)
        return Flight.launched(self._batch.sequences, shape, self._batch.size * shape.rows, load, packed)

    def _suitable(self, sequences: list[Sequence], in_flight: int) -> bool:
        """Whether the next step can be resident, given that each step in flight brings at least one token."""
        if not sequences or len(sequences) > self._state.batch or self._joins():
            return False
        if not all(sequence.decoding and is_resident(sequence.params) for sequence in sequences):
            return False
        return any(sequence.remaining > in_flight for sequence in sequences)

    def _joins(self) -> bool:
        """Whether a sequence waits that the scheduler could let in."""
        scheduler = self._scheduler
        if not scheduler.waiting or len(scheduler.running) >= scheduler.max_num_seqs:
            return False
        return scheduler.pool.pages_for(len(scheduler.waiting[0].tokens)) <= scheduler.pool.free

    def _reserve(self, sequences: list[Sequence], ahead: int, shape: WindowShape) -> bool:
        """Pages for full acceptance of what is in flight and of this window; False where the pool has too few."""
        return all(self._scheduler.reserve(sequence, reach(sequence, ahead, shape)) for sequence in sequences)

    def _land(self, flight: Flight) -> list[Sequence]:
        """Read a step: commit its tokens up to each sequence's end, and free what it held."""
        landed: list[Sequence] = []
        tokens = 0
        windows: list[Window] = []
        for sequence, said in zip(flight.sequences, flight.said(), strict=True):
            # finished while the step was in flight: what it says of that sequence is garbage
            if sequence.finish_reason is not None:
                continue
            landed.append(sequence)
            windows.append(Window(sequence, [], flight.shape, range(0), decodes=True, drafted=said.drafted))
            if said.broken:
                sequence.fail(NAN_MESSAGE)
                self._scheduler.pool.forget(sequence.pages)
            else:
                tokens += self._commit(windows[-1], said)
        self._scheduler.pool.release(flight.pages)
        self._record(flight, windows, tokens)
        return landed

    def _commit(self, window: Window, said: Said) -> int:
        sequence = window.sequence
        # drafts past the end, which the plain loop would not have carried, are none
        drafted = min(said.drafted, sequence.remaining - 1)
        committed = sequence.append(said.tokens)
        accepted = min(len(said.tokens) - 1, committed, drafted)
        sequence.count_forward(Forward(committed, accepted, drafted, decodes=True))
        self._scheduler.commit(sequence, min(len(said.tokens), sequence.pending))
        sequence.drafts = said.drafts
        self._recorder.decode(window, committed)
        self._policy.observe_window(said.drafted, len(said.tokens) - 1, sequence.record)
        return committed

    def _record(self, flight: Flight, windows: list[Window], tokens: int) -> None:
        now = time.perf_counter()
        seconds, self._read_at = now - self._read_at, now
        if windows:
            self._recorder.step(windows, seconds, tokens)
            self._policy.observe_step(flight.rows, flight.load, seconds)
