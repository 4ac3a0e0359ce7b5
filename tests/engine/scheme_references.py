"""SDLM, I-DLM and linear self-speculation for one sequence as they are described: no cache, no pages, no batch.

SDLM (arXiv 2509.24007): behind the text stands a block that begins with a copy of its last token, at that token's
position, then k - 1 masks; the block sees itself in both directions and the text up to, but not with, the original.
Row i of it predicts the position after its own.

Nemotron-Labs-Diffusion's linear self-speculation drafts with the same block, but a mask predicts its own position.

I-DLM (arXiv 2604.11035): k - 1 masks behind the drafts, everything strictly causal, so that they draft what follows
if all drafts are accepted; each row predicts the position after its own. After a rejection the next step is cold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tests.engine.reference import MaskedAttention, Reference, Step


@dataclass
class CopyReference(Reference):
    """Groups that begin with a copy of the last token they follow; `shift` 1 is SDLM's, 0 the linear scheme's."""

    shift: int = 1

    def _forward(self, prefix: list[int], drafts: list[int], groups: list[int]) -> tuple[Tensor, list[Tensor]]:
        text = prefix + drafts
        clean, length = len(text), self.k + 1 - self.shift
        rows = clean + len(groups) * length
        mask = torch.zeros(rows, rows, dtype=torch.bool)
        mask[:clean, :clean] = torch.ones(clean, clean, dtype=torch.bool).tril()
        tokens, positions = list(text), list(range(clean))
        for index, j in enumerate(groups):
            original = len(prefix) + j - 1
            own = slice(clean + index * length, clean + (index + 1) * length)
            mask[own, :original] = True
            mask[own, own] = True
            tokens += [text[original]] + [self.mask_token_id] * (length - 1)
            positions += range(original, original + length)
        with torch.inference_mode():
            hidden = self.decoder(torch.tensor(tokens), torch.tensor(positions), MaskedAttention(mask))
            logits = self.decoder.logits(hidden)
        return logits[:clean], list(logits[clean:].split(length)) if groups else []

    def _drafts(self, masks: Tensor, text: list[int], final: list[int]) -> list[int]:
        """The first row that says what comes after the AR token, and those behind it."""
        return super()._drafts(masks[1 - self.shift :], text, final)


@dataclass
class StrideReference(Reference):
    """I-DLM: masks only behind all drafts."""

    def _step(self, text: list[int], drafts: list[int]) -> Step:
        whole = replace(self, groups=(len(drafts) + 1,))
        return Reference._step(whole, text, drafts)

    def _forward(self, prefix: list[int], drafts: list[int], groups: list[int]) -> tuple[Tensor, list[Tensor]]:
        clean = len(prefix) + len(drafts)
        rows = clean + self.k - 1
        token_ids = torch.tensor(prefix + drafts + [self.mask_token_id] * (self.k - 1))
        attention = MaskedAttention(torch.ones(rows, rows, dtype=torch.bool).tril())
        with torch.inference_mode():
            logits = self.decoder.logits(self.decoder(token_ids, torch.arange(rows), attention))
        # the last clean row stands for mask 0, whose place the AR token has
        return logits[:clean], [logits[clean - 1 :]]
