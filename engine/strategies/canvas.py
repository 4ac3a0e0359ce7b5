"""The positions of one sequence that are being decided, in any order."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import RequestError
from engine.messages import Submit
from engine.sampling.row import Row
from engine.sequence import Sequence, SequenceState


@dataclass
class Canvas(SequenceState):
    """Tokens from position `start` on; None is a mask. Those that are final from the left are the sequence's own too.

    `forwards` counts the denoising forwards that the present block has had.
    """

    start: int
    tokens: list[int | None]
    forwards: int = 0

    def filled(self, mask_token_id: int) -> list[int]:
        return [mask_token_id if token is None else token for token in self.tokens]

    def masked(self, first: int = 0, last: int | None = None) -> list[int]:
        """Indices of the masks among tokens[first:last]."""
        end = len(self.tokens) if last is None else last
        return [index for index in range(first, end) if self.tokens[index] is None]

    def final(self, known: int) -> list[int]:
        """The tokens from position `known` on, up to the first mask."""
        final = []
        for token in self.tokens[known - self.start :]:
            if token is None:
                break
            final.append(token)
        return final

    def rows(self, sequence: Sequence, indices: list[int]) -> list[Row]:
        """A sampler's row for each of these masks: what is decided on either side counts as said."""
        decided = [token for token in self.tokens[len(sequence.tokens) - self.start :] if token is not None]
        return [Row(sequence, self.start + index, decided) for index in indices]


def order_refusal(request: Submit) -> RequestError | None:
    """What a request asks that needs tokens to be decided from left to right."""
    params = request.params
    if params.grammar is not None:
        return RequestError(
            "Tokens are decided in any order here, which no grammar can follow; leave it out.", "grammar"
        )
    if params.bad_words:
        return RequestError(
            "Tokens are decided in any order here, so bad_words cannot be kept out; use logit_bias for single tokens.",
            "bad_words",
        )
    if params.prompt_logprobs is not None:
        return RequestError(
            "A denoising model gives the prompt no log-probabilities; leave them out.", "prompt_logprobs"
        )
    return None
