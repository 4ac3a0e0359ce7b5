"""`--speculative-config`: which drafter, under the keys that vLLM users know."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.errors import EngineError

Method = Literal["ngram", "draft_model", "eagle3"]

#: drafts per step where the settings name no number
DRAFTS = 4
NGRAM_LONGEST, NGRAM_SHORTEST = 4, 2


class SpeculativeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A drafter and how far it looks ahead. `model` is a folder, file, hub id or known name; n-grams need none."""

    method: Method
    model: str | None = None
    num_speculative_tokens: int = DRAFTS
    prompt_lookup_max: int = NGRAM_LONGEST
    prompt_lookup_min: int = NGRAM_SHORTEST

    @classmethod
    def parse(cls, text: str) -> SpeculativeConfig:
        """Read a JSON object. Raises EngineError, one sentence, where it is none or its values cannot be meant."""
        try:
            config = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise EngineError(
                f"--speculative-config must be a JSON object such as "
                f'{{"method": "ngram", "num_speculative_tokens": {DRAFTS}}}: {error}.'
            ) from None
        config.check()
        return config

    def check(self) -> None:
        """Raises EngineError where the values cannot be meant."""
        if not 1 <= self.num_speculative_tokens <= 63:
            raise EngineError(f"num_speculative_tokens must lie between 1 and 63, not {self.num_speculative_tokens}.")
        if not 1 <= self.prompt_lookup_min <= self.prompt_lookup_max <= 16:
            raise EngineError("prompt_lookup_min and prompt_lookup_max must lie between 1 and 16, the first the lower.")
        if (self.model is None) != (self.method == "ngram"):
            raise EngineError(
                f'The speculative method "{self.method}" '
                + ("takes no model." if self.method == "ngram" else "needs a model.")
            )
