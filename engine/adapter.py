"""What an adapter changes about an engine's settings."""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.config import EngineConfig
from engine.errors import EngineError
from models.adapter.config import AdapterConfig
from models.config import ModelConfig


def with_adapter(config: EngineConfig, model: ModelConfig) -> tuple[EngineConfig, ModelConfig, AdapterConfig | None]:
    """Read the adapter that the settings name, if any, and let the model draft with it; plain AR needs none.

    Raises EngineError or ModelError, one sentence each. The resident loop knows masks by one id, so it stays off.
    """
    if config.adapter is None or config.decoding not in ("auto", "tidar") or config.draft_length == 1:
        return config, model, None
    if config.async_scheduling:
        raise EngineError("--adapter does not work with --async-scheduling yet; leave one of them out.")
    adapter = AdapterConfig.read(Path(config.adapter))
    return msgspec.structs.replace(config, async_scheduling=False), adapter.drafting(model), adapter
