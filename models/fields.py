"""Typed reads from a parsed config.json, which may hold anything."""

from __future__ import annotations

import sys
from typing import Any

from models.errors import ModelError


def whole(raw: dict[str, Any], key: str, default: int | None = None) -> int:
    """A positive whole number below 2^31."""
    value = default if raw.get(key) is None else raw[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
        raise ModelError(f"config.json needs a positive whole number for {key}, but has {value!r}.")
    return value


def number(raw: dict[str, Any], key: str, default: float | None = None) -> float:
    """A positive finite number."""
    value = default if raw.get(key) is None else raw[key]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= sys.float_info.max:
        raise ModelError(f"config.json needs a positive number for {key}, but has {value!r}.")
    return float(value)


def flag(raw: dict[str, Any], key: str, default: bool = False) -> bool:
    value = default if raw.get(key) is None else raw[key]
    if not isinstance(value, bool):
        raise ModelError(f"config.json needs true or false for {key}, but has {value!r}.")
    return value


def section(raw: dict[str, Any], key: str) -> dict[str, Any]:
    """An object; an absent one is empty."""
    value = raw.get(key)
    if not isinstance(value, dict) and value is not None:
        raise ModelError(f"config.json needs an object for {key}, but has {value!r}.")
    return value or {}


def token_ids(raw: dict[str, Any], key: str) -> tuple[int, ...]:
    """One token id or a list of them; an absent one is empty."""
    value = raw.get(key)
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(token, int) and not isinstance(token, bool) and token >= 0 for token in ids):
        raise ModelError(f"config.json needs token ids for {key}, but has {value!r}.")
    return tuple(ids)


def token_id(raw: dict[str, Any], key: str, default: int | None = None) -> int:
    """One token id."""
    value = default if raw.get(key) is None else raw[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ModelError(f"config.json needs a token id for {key}, but has {value!r}.")
    return value
