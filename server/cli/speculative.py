"""`--speculative-config`: vLLM's words for a drafter, as settings of the engine."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import typer

from server.cli.model import model_path

#: vLLM's method to --decoding
DECODING = {"ngram": "ngram", "draft_model": "draft-model", "eagle3": "eagle3"}
FLAG = "--speculative-config"


class SpeculativeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys that are understood. `num_speculative_tokens` is k - 1: d_0 is no speculation here."""

    method: Literal["ngram", "draft_model", "eagle3"]
    num_speculative_tokens: int = 4
    model: str | None = None
    prompt_lookup_max: int = 4
    prompt_lookup_min: int = 2

    @classmethod
    def parse(cls, text: str) -> SpeculativeConfig:
        """Read a JSON object. Raises typer.BadParameter, one sentence, where it is none or cannot be meant."""
        try:
            config = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise typer.BadParameter(
                f'{FLAG} must be a JSON object such as {{"method": "ngram", "num_speculative_tokens": 4}}: {error}.'
            ) from None
        if not 1 <= config.num_speculative_tokens <= 63:
            raise typer.BadParameter(
                f"num_speculative_tokens must lie between 1 and 63, not {config.num_speculative_tokens}."
            )
        if (config.model is None) != (config.method == "ngram"):
            needs = "takes no model" if config.method == "ngram" else "needs a model"
            raise typer.BadParameter(f'The speculative method "{config.method}" {needs}.')
        return config


def speculative_settings(text: str | None, draft_model: str | None, decoding: str, k: int | None) -> dict[str, Any]:
    """EngineConfig's fields from --speculative-config, or from our own flags --decoding, --draft-length, --draft-model.

    Raises typer.BadParameter where both are given.
    """
    if text is None:
        folder = None if draft_model is None else str(model_path(draft_model, "draft"))
        return {"decoding": decoding, "draft_length": k, "draft_model": folder}
    if decoding != "auto" or draft_model is not None or k is not None:
        raise typer.BadParameter(f"{FLAG} says it all; leave out --decoding, --draft-model and --draft-length.")
    config = SpeculativeConfig.parse(text)
    return {
        "decoding": DECODING[config.method],
        "draft_length": config.num_speculative_tokens + 1,
        "draft_model": None if config.model is None else str(model_path(config.model, "draft")),
        "prompt_lookup_max": config.prompt_lookup_max,
        "prompt_lookup_min": config.prompt_lookup_min,
    }
