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
    """Ids that end a text, of config.json, generation_config.json and the tokenizer's own eos_token.

    Chat models name theirs in the second only, some fine-tuned ones in the third only. A GGUF file has one place.
    """
    if folder.is_file():
        return token_ids(config, "eos_token_id")
    generation = read_object(folder / "generation_config.json") or {}
    ids = token_ids(config, "eos_token_id") + token_ids(generation, "eos_token_id")
    return tuple(dict.fromkeys(ids + _tokenizer_eos(folder)))


def special_tokens(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json laid over special_tokens_map.json."""
    return {
        **(read_object(folder / "special_tokens_map.json") or {}),
        **(read_object(folder / "tokenizer_config.json") or {}),
    }


def token_text(given: Any) -> str | None:
    """The text of a token named in tokenizer_config.json: a string, or an object with `content`."""
    text = given.get("content") if isinstance(given, dict) else given
    return text if isinstance(text, str) else None


def _tokenizer_eos(folder: Path) -> tuple[int, ...]:
    """The id of the tokenizer's eos_token, or nothing where it names none or does not hold it."""
    text = token_text(special_tokens(folder).get("eos_token"))
    tokenizer = None if text is None else read_object(folder / "tokenizer.json")
    if tokenizer is None:
        return ()
    added, model = tokenizer.get("added_tokens"), tokenizer.get("model")
    known: dict[Any, Any] = {}
    if isinstance(model, dict) and isinstance(model.get("vocab"), dict):
        known |= model["vocab"]
    if isinstance(added, list):
        known |= {token_text(token): token.get("id") for token in added if isinstance(token, dict)}
    found = known.get(text)
    return (found,) if isinstance(found, int) and not isinstance(found, bool) else ()
