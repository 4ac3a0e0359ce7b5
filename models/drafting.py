"""How a checkpoint drafts, read from its config.json: a `tidar` section of its own, or its family's keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.errors import ModelError
from models.families import DraftKeys, Family
from models.fields import flag, section, token_id, whole

#: what is drafted or denoised, and whether a mask predicts its own position (0) or the next one (1); blocks are counted
#: from the text's first token ("block"), or follow a prompt that sees itself in both directions ("prompt-block")
SCHEMES: dict[str, tuple[int, ...]] = {
    "tidar": (0,),
    "linear": (0,),
    "sdlm": (1,),
    "idlm": (1,),
    "block": (0,),
    "prompt-block": (0,),
    "denoise": (0, 1),
}


@dataclass(frozen=True)
class DraftConfig:
    """How a checkpoint drafts: the `tidar` section of its config.json, or what its family means by its own keys.

    `shift` is 0 where a mask token predicts its own position (TiDAR) and 1 where it predicts the next one.
    `draft_length` is k; of block diffusion it is the block's length.
    """

    mask_token_id: int
    draft_length: int
    scheme: str = "tidar"
    shift: int = 0


def read_drafting(raw: dict[str, Any], text: dict[str, Any], family: Family) -> DraftConfig | None:
    """From config.json `raw`, whose part about the text model is `text`; None where nothing is said of drafting."""
    if raw.get("tidar") is not None:
        return _own_section(section(raw, "tidar"))
    for keys in family.drafts:
        if keys.when is not None and not flag(text, keys.when):
            continue
        if text.get(keys.mask_key) is not None or keys.mask_token_id is not None:
            return _published(text, keys)
    return None


def _own_section(given: dict[str, Any]) -> DraftConfig:
    unknown = set(given) - {"mask_token_id", "draft_length", "scheme", "shift"}
    if unknown:
        raise ModelError(f"The tidar section of config.json has unknown keys: {', '.join(sorted(unknown))}.")
    scheme, shift = given.get("scheme", "tidar"), given.get("shift")
    known = SCHEMES.get(scheme, ()) if isinstance(scheme, str) else ()
    shift = known[0] if known and shift is None else shift
    if isinstance(shift, bool) or shift not in known:
        choices = ", ".join(f"{name} with {' or '.join(map(str, shifts))}" for name, shifts in SCHEMES.items())
        raise ModelError(f"Drafting scheme {scheme!r} with shift {shift!r} is not supported; {choices} are.")
    mask = given.get("mask_token_id")
    if not isinstance(mask, int) or isinstance(mask, bool):
        raise ModelError("The tidar section of config.json needs mask_token_id, a token id.")
    return DraftConfig(mask_token_id=mask, draft_length=whole(given, "draft_length"), scheme=str(scheme), shift=shift)


def _published(text: dict[str, Any], keys: DraftKeys) -> DraftConfig:
    unsaid = keys.draft_length - keys.longer
    return DraftConfig(
        mask_token_id=token_id(text, keys.mask_key, keys.mask_token_id),
        draft_length=whole(text, keys.length_key, unsaid) + keys.longer,
        scheme=keys.scheme,
        shift=keys.shift,
    )
