"""Drafts that are right with a given probability: what decoding would gain from a model that drafts that well."""

from __future__ import annotations

import random

from engine.engine import Engine


class ForcedDrafts:
    """Overwrites the drafts that wait to be verified, as many as there are; what is committed stays the AR answer.

    `answers` are the tokens that AR gave for each request, whose id is its index. A wrong draft is another token.
    """

    def __init__(self, acceptance: float, answers: list[list[int]], vocab_size: int) -> None:
        self.acceptance = acceptance
        self.answers = answers
        self.vocab_size = vocab_size

    def apply(self, engine: Engine) -> None:
        """To be called before every step."""
        for sequence in engine.scheduler.running:
            if sequence.drafts:
                coming = self.answers[int(sequence.request_id)][sequence.output_len :]
                rng = random.Random(f"{sequence.request_id} {sequence.output_len}")
                sequence.drafts = [self._draft(token, rng) for token in coming[: len(sequence.drafts)]]

    def _draft(self, token: int, rng: random.Random) -> int:
        return token if rng.random() < self.acceptance else (token + 1) % self.vocab_size
