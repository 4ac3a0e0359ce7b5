"""What an adapter changes about an engine's settings."""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.config import EngineConfig
from engine.errors import EngineError
from models.adapter.config import AdapterConfig
from models.config import ModelConfig


def with_adapter(config: EngineConfig, model: ModelConfig) -> tuple[EngineConfig, ModelConfig]:
    """Let the model draft with the adapter that the settings name, if any; where none is needed they name none after.

    Raises EngineError or ModelError, one sentence each. The resident loop knows masks by one id, so it stays off.
    """
    if config.adapter is None:
        return config, model
    if config.decoding not in ("auto", "tidar") or config.draft_length == 1:
        return msgspec.structs.replace(config, adapter=None), model
    if config.async_scheduling:
        raise EngineError("--adapter does not work with --async-scheduling yet; leave one of them out.")
    if config.tensor_parallel_size > 1:
        raise EngineError("--adapter does not work with --tensor-parallel-size yet; leave one of them out.")
    drafting = AdapterConfig.read(Path(config.adapter)).drafting(model)
    return msgspec.structs.replace(config, async_scheduling=False), drafting


def with_draft_lora(config: EngineConfig, model: ModelConfig) -> EngineConfig:
    """Check the settings that go with --draft-lora, and find the folder, which may lie inside the model's.

    Plain AR leaves it out. Raises EngineError.
    """
    if config.draft_lora is None:
        return config
    if model.draft is None:
        raise EngineError("--draft-lora is for models that draft, and nothing in this one's config.json says how.")
    if config.decoding == "ar":
        return msgspec.structs.replace(config, draft_lora=None)
    if config.decoding not in ("tidar", "sdlm", "linear", "idlm"):
        raise EngineError(f"--decoding {config.decoding} has no rows for --draft-lora; leave one of them out.")
    if config.async_scheduling:
        raise EngineError("--draft-lora does not work with --async-scheduling yet; leave one of them out.")
    inside = Path(config.model) / config.draft_lora
    folder = str(inside) if inside.is_dir() else config.draft_lora
    return msgspec.structs.replace(config, draft_lora=folder, async_scheduling=False)
