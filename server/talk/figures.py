"""How an answer came, counted as it comes."""

from __future__ import annotations

import time
from typing import Any


class Figures:
    """Adds up the steps of one answer."""

    def __init__(self) -> None:
        self.tokens = 0
        self._forwards = 0
        self._committed = 0
        self._drafted = 0
        self._accepted = 0
        self._first = 0.0
        self._first_tokens = 0
        self._last = 0.0

    def add(self, steps: list[dict[str, Any]]) -> None:
        """The steps of one chunk, as the server's `tidar` field has them."""
        if not steps:
            return
        self._last = time.monotonic()
        for step in steps:
            self.tokens += len(step["tokens"])
            if step["decode"]:
                self._forwards += 1
                self._committed += step["committed"]
                self._drafted += step["drafted"]
                self._accepted += step["accepted"]
        if not self._first:
            self._first, self._first_tokens = self._last, self.tokens

    def line(self) -> str:
        """Tokens, tokens per second after the first, tokens per forward and the drafts' acceptance."""
        parts = [f"{self.tokens} tokens"]
        elapsed = self._last - self._first
        if elapsed > 0:
            parts.append(f"{(self.tokens - self._first_tokens) / elapsed:.0f} tokens/s")
        if self._forwards:
            parts.append(f"T/NFE {self._committed / self._forwards:.2f}")
        if self._drafted:
            parts.append(f"{100 * self._accepted / self._drafted:.0f} % of drafts accepted")
        return " · ".join(parts)
