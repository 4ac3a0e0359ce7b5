"""The engine: token ids in, exact token ids out, several per forward. Names load on first use, so imports are cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.config import EngineConfig
    from engine.llm import LLM
    from engine.params import SamplingParams

__all__ = ["LLM", "EngineConfig", "SamplingParams"]

_HOMES = {"LLM": "engine.llm", "EngineConfig": "engine.config", "SamplingParams": "engine.params"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
