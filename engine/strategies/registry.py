"""What --decoding may say: every scheme by name, and which of them a checkpoint can be decoded with.

A scheme's own file is imported when it is made, so that the names cost the API process nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.config import EngineConfig
    from engine.strategies.base import Strategy
    from engine.strategies.drafter import Drafter
    from models.config import ModelConfig
    from models.decoder import Decoder

Make = Callable[["EngineConfig", "ModelConfig"], "Strategy"]
MakeDrafter = Callable[["EngineConfig", "Decoder"], "Drafter"]


@dataclass(frozen=True)
class Scheme:
    """One way to decode. `make` builds its strategy from settings whose decoding and draft_length are resolved.

    `drafter` builds what drafts for it beside the forward, if anything does; the decoder it is given is ready to run.
    """

    make: Make
    drafter: MakeDrafter | None = None
    #: k where neither --draft-length nor the checkpoint says; 1 is a scheme that never drafts
    draft_length: int = 4
    #: windows carry pre-draft groups, so that a policy may choose k and how many
    predrafts: bool = False
    #: the loop that runs one step ahead knows its windows
    resident: bool = False


def _draft_verify(config: EngineConfig, model: ModelConfig) -> Strategy:
    from engine.strategies.draft_verify import DraftVerify

    if model.draft is None:
        return DraftVerify(None)
    # an adapter's masks differ by their place in the group
    places = model.draft.draft_length if model.draft.scheme == "adapter" else 1
    return DraftVerify(model.draft.mask_token_id + _gate(config, model), places)


def _copies(config: EngineConfig, model: ModelConfig) -> Strategy:
    from engine.strategies.copies import CopyAndDraft

    assert model.draft is not None
    return CopyAndDraft(model.draft.mask_token_id, model.draft.shift, _gate(config, model))


def _stride(config: EngineConfig, model: ModelConfig) -> Strategy:
    from engine.strategies.stride import Stride

    assert model.draft is not None
    return Stride(model.draft.mask_token_id + _gate(config, model))


def _gate(config: EngineConfig, model: ModelConfig) -> int:
    """What is added to the ids of drafting rows, so that a LoRA that is for them alone knows them."""
    return 0 if config.draft_lora is None else model.vocab_size


SCHEMES: dict[str, Scheme] = {
    "ar": Scheme(_draft_verify, draft_length=1, resident=True),
    "tidar": Scheme(_draft_verify, predrafts=True, resident=True),
    "sdlm": Scheme(_copies, predrafts=True),
    "linear": Scheme(_copies, predrafts=True),
    "idlm": Scheme(_stride),
}

#: by the `scheme` of a checkpoint's draft config ("" where it has none), what it can be decoded with; the first is auto
CHECKPOINTS: dict[str, tuple[str, ...]] = {
    "": ("ar",),
    "tidar": ("tidar", "ar"),
    "adapter": ("tidar", "ar"),
    # Nemotron's quadratic self-speculation is TiDAR's window
    "linear": ("linear", "tidar", "ar"),
    "sdlm": ("sdlm", "ar"),
    "idlm": ("idlm", "ar"),
    "block": ("ar",),
    "denoise": ("ar",),
}

#: values of --decoding
DECODINGS = ("auto", *SCHEMES)


def choose_scheme(decoding: str, draft_length: int | None, model: ModelConfig) -> tuple[str, int]:
    """The name of the scheme to decode with and its k. Raises EngineError where the checkpoint cannot do it."""
    kind = model.draft.scheme if model.draft else ""
    possible = CHECKPOINTS[kind]
    name = possible[0] if decoding == "auto" else decoding
    if name not in possible:
        if not kind:
            raise EngineError(
                f"--decoding {name} needs a checkpoint whose config.json has a tidar section; use --decoding ar."
            )
        raise EngineError(f"--decoding {name} does not fit this checkpoint ({kind}); use {' or '.join(possible)}.")
    if SCHEMES[name].draft_length == 1:
        return name, 1
    k = draft_length or (model.draft.draft_length if model.draft else SCHEMES[name].draft_length)
    return ("ar", 1) if k == 1 and SCHEMES[name].predrafts else (name, k)
