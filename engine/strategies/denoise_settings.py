"""From an engine's settings and a checkpoint's draft config to what the denoising schemes are made of."""

from __future__ import annotations

from engine.config import EngineConfig
from engine.errors import EngineError
from engine.strategies.block_windows import BlockModel, Clean
from engine.strategies.full_denoising import FullModel
from engine.strategies.unmasking import Unmasking
from models.config import ModelConfig


def block_model(config: EngineConfig, model: ModelConfig, clean: Clean) -> BlockModel:
    """Blocks of config.draft_length tokens. Raises EngineError where a step cannot hold one."""
    assert model.draft is not None and config.draft_length is not None
    needed = config.draft_length + model.draft.shift
    if needed > config.max_num_batched_tokens:
        raise EngineError(
            f"A block takes {needed} rows, but --max-num-batched-tokens is {config.max_num_batched_tokens}; raise it."
        )
    return BlockModel(model.draft.mask_token_id, config.draft_length, clean, model.draft.shift)


def full_model(model: ModelConfig) -> FullModel:
    assert model.draft is not None
    return FullModel(model.draft.mask_token_id, model.draft.shift)


def unmasking(config: EngineConfig, threshold: float | None = None) -> Unmasking:
    """`threshold` is the scheme's own, for where neither it nor the number of steps is set."""
    if config.denoise_threshold is not None or config.denoise_steps is not None:
        threshold = config.denoise_threshold
    order = config.denoise_order or "confidence"
    if order == "entropy":
        if config.denoise_threshold is not None:
            raise EngineError(
                "--denoise-threshold is a probability, which --denoise-order entropy has not; use --denoise-steps."
            )
        threshold = None
    return Unmasking(order, threshold, config.denoise_steps)


def scheduled_unmasking(config: EngineConfig) -> Unmasking:
    """Dream's: so many steps for the whole output, and no threshold."""
    if config.denoise_order == "left-to-right":
        raise EngineError("--decoding dream decides its surest tokens first; use another --denoise-order.")
    return Unmasking(config.denoise_order or "entropy", None, config.denoise_steps)
