"""The JSON files of a checkpoint folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.fields import token_ids

GGUF_SUFFIX = ".gguf"


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`, or None where there is no such file. Raises ModelError where it is no JSON object."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error}).") from None
    if not isinstance(raw, dict):
        raise ModelError(f"{path} must hold a JSON object.")
    return raw


def read_config(folder: Path) -> dict[str, Any]:
    """`folder`/config.json, or what a GGUF file says in its place. Raises ModelError where neither is there."""
    if folder.is_file() and folder.suffix == GGUF_SUFFIX:
        from models.gguf.config import config_of

        return config_of(folder)
    if not folder.is_dir():
        raise ModelError(f"There is no model folder {folder}: give one with config.json and safetensors weights.")
    raw = read_object(folder / "config.json")
    if raw is None:
        raise ModelError(f"{folder} holds no config.json, so it is not a model folder.")
    return raw


def eos_token_ids(folder: Path, config: dict[str, Any]) -> tuple[int, ...]:
    """Ids that end a text, of config.json and generation_config.json: chat models name theirs in the second only."""
    if folder.is_file():
        return token_ids(config, "eos_token_id")
    generation = read_object(folder / "generation_config.json") or {}
    return tuple(dict.fromkeys(token_ids(config, "eos_token_id") + token_ids(generation, "eos_token_id")))
