"""What --decoding may say: every scheme by name, and which of them a checkpoint can be decoded with.

A scheme's own file is imported when it is made, so that the names cost the API process nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import EngineError

if TYPE_CHECKING:
    import torch

    from engine.config import EngineConfig
    from engine.strategies.base import Strategy
    from engine.strategies.block_windows import Clean
    from engine.strategies.drafter import Beside, Drafter
    from models.config import ModelConfig

Make = Callable[["EngineConfig", "ModelConfig"], "Strategy"]
MakeDrafter = Callable[["EngineConfig", "Beside"], "Drafter"]
PageBytes = Callable[["EngineConfig", "ModelConfig", "torch.dtype"], int]


@dataclass(frozen=True)
class Scheme:
    """One way to decode. `make` builds its strategy from settings whose decoding and draft_length are resolved.

    `drafter` builds what drafts for it beside the forward, if anything does; `page_bytes` is what that keeps per page.
    """

    make: Make
    drafter: MakeDrafter | None = None
    page_bytes: PageBytes | None = None
    #: k where neither --draft-length nor the checkpoint says; 1 is a scheme that never drafts
    draft_length: int = 4
    #: a policy may choose k, and with mask rows how many pre-draft groups
    predrafts: bool = False
    #: the loop that runs one step ahead knows its windows
    resident: bool = False
    #: settings of denoising that it heeds
    heeds: frozenset[str] = frozenset()


def _draft_verify(config: EngineConfig, model: ModelConfig) -> Strategy:
    from engine.strategies.draft_verify import DraftVerify

    if model.draft is None:
        return DraftVerify(None)
    # an adapter's masks differ by their place in the group
    places = model.draft.draft_length if model.draft.scheme == "adapter" else 1
    return DraftVerify(model.draft.mask_token_id, places)


def _block_diffusion(config: EngineConfig, model: ModelConfig) -> Strategy:
    from engine.strategies.block_diffusion import BlockDiffusion
    from engine.strategies.denoise_settings import block_model, unmasking

    clean: dict[str, Clean] = {"block": "aligned", "prompt-block": "prompt"}
    blocks = block_model(config, model, clean.get(_kind(model), "causal"))
    return BlockDiffusion(blocks, unmasking(config, threshold=0.9), config.max_num_batched_tokens)


def _d2f(config: EngineConfig, model: ModelConfig) -> Strategy:
    from engine.strategies.d2f import D2F, Pipeline
    from engine.strategies.denoise_settings import block_model

    pipeline = Pipeline() if config.denoise_threshold is None else Pipeline(sure=config.denoise_threshold)
    return D2F(block_model(config, model, "prompt"), pipeline, config.max_num_batched_tokens)


def _llada(config: EngineConfig, model: ModelConfig) -> Strategy:
    from engine.strategies.denoise_settings import full_model, unmasking
    from engine.strategies.full_denoising import FullDenoising

    rows, cache = config.max_num_batched_tokens, config.denoise_cache
    return FullDenoising(full_model(model), unmasking(config), config.draft_length, rows, cache)


def _dream(config: EngineConfig, model: ModelConfig) -> Strategy:
    from engine.strategies.denoise_settings import full_model, scheduled_unmasking
    from engine.strategies.full_denoising import FullDenoising

    return FullDenoising(full_model(model), scheduled_unmasking(config), None, config.max_num_batched_tokens)


def _verify(config: EngineConfig, model: ModelConfig) -> Strategy:
    from engine.strategies.draft_verify import DraftVerify

    return DraftVerify(None)


def _verify_tree(config: EngineConfig, model: ModelConfig) -> Strategy:
    from engine.strategies.tree_verify import TreeVerify

    return _verify(config, model) if config.draft_width == 1 else TreeVerify()


def _ngram(config: EngineConfig, beside: Beside) -> Drafter:
    from engine.drafters.build import make_ngram

    return make_ngram(config, beside)


def _draft_model(config: EngineConfig, beside: Beside) -> Drafter:
    from engine.drafters.build import make_draft_model

    return make_draft_model(config, beside)


def _draft_model_bytes(config: EngineConfig, model: ModelConfig, dtype: torch.dtype) -> int:
    from engine.drafters.build import draft_model_page_bytes

    return draft_model_page_bytes(config, model, dtype)


def _eagle(config: EngineConfig, beside: Beside) -> Drafter:
    from engine.drafters.build import make_eagle

    return make_eagle(config, beside)


def _eagle_bytes(config: EngineConfig, model: ModelConfig, dtype: torch.dtype) -> int:
    from engine.drafters.build import eagle_page_bytes

    return eagle_page_bytes(config, model, dtype)


THRESHOLD, STEPS, ORDER, CACHE = "denoise_threshold", "denoise_steps", "denoise_order", "denoise_cache"

SHIFTED = "denoise, shifted"

SCHEMES: dict[str, Scheme] = {
    "ar": Scheme(_draft_verify, draft_length=1, resident=True),
    "tidar": Scheme(_draft_verify, predrafts=True, resident=True),
    "block-diffusion": Scheme(_block_diffusion, heeds=frozenset({THRESHOLD, STEPS, ORDER})),
    "d2f": Scheme(_d2f, heeds=frozenset({THRESHOLD})),
    "llada": Scheme(_llada, heeds=frozenset({THRESHOLD, STEPS, ORDER, CACHE})),
    "dream": Scheme(_dream, heeds=frozenset({STEPS, ORDER})),
    "ngram": Scheme(_verify, _ngram, predrafts=True),
    "draft-model": Scheme(_verify, _draft_model, _draft_model_bytes, predrafts=True),
    "eagle3": Scheme(_verify_tree, _eagle, _eagle_bytes, predrafts=True),
}

#: by the `scheme` of a checkpoint's draft config ("" where it has none), what it can be decoded with; the first is auto
CHECKPOINTS: dict[str, tuple[str, ...]] = {
    "": ("ar",),
    "tidar": ("tidar", "ar", "block-diffusion"),
    "adapter": ("tidar", "ar"),
    "linear": ("ar", "block-diffusion"),
    "sdlm": ("ar",),
    "idlm": ("ar",),
    "block": ("block-diffusion",),
    "prompt-block": ("block-diffusion",),
    "denoise": ("llada", "d2f"),
    SHIFTED: ("dream", "d2f"),
}

#: values of --decoding
DECODINGS = ("auto", *SCHEMES)


def choose_scheme(decoding: str, draft_length: int | None, model: ModelConfig) -> tuple[str, int]:
    """The name of the scheme to decode with and its k. Raises EngineError where the checkpoint cannot do it."""
    kind = _kind(model)
    possible = CHECKPOINTS[kind]
    if "ar" in possible:
        # whoever says one token at a time can check anybody's drafts
        possible += tuple(name for name, scheme in SCHEMES.items() if scheme.drafter is not None)
    name = possible[0] if decoding == "auto" else decoding
    if name not in possible:
        if model.draft is None:
            raise EngineError(
                f"--decoding {name} needs a checkpoint whose config.json has a tidar section; use --decoding ar."
            )
        raise EngineError(f"--decoding {name} does not fit this checkpoint ({kind}); use {' or '.join(possible)}.")
    if SCHEMES[name].draft_length == 1:
        return name, 1
    k = draft_length or (model.draft.draft_length if model.draft else SCHEMES[name].draft_length)
    return ("ar", 1) if k == 1 and SCHEMES[name].predrafts else (name, k)


def check_heeded(config: EngineConfig) -> None:
    """Raises EngineError for a setting that the scheme `config.decoding` does not heed."""
    for name in (THRESHOLD, STEPS, ORDER, CACHE):
        if getattr(config, name) not in (None, False) and name not in SCHEMES[config.decoding].heeds:
            raise EngineError(f"--decoding {config.decoding} does not heed --{name.replace('_', '-')}; leave it out.")


def _kind(model: ModelConfig) -> str:
    """A key of CHECKPOINTS: a denoising checkpoint is LLaDA's kind or, with its logits shifted, Dream's."""
    if model.draft is None:
        return ""
    return SHIFTED if model.draft.scheme == "denoise" and model.draft.shift else model.draft.scheme
