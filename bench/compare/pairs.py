"""What is compared: a model and a way to decode it, written as one argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.config import EngineConfig

SYNTAX = "[NAME=]DECODING[@MODEL][,setting=value]..., as in 'no groups=tidar,predrafts=none'"


@dataclass(frozen=True)
class Pair:
    """`fields` are EngineConfig's; `model` is None where the run's own model is meant."""

    name: str
    decoding: str
    model: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Pair:
        """Read SYNTAX. Raises ValueError, one sentence, where it is not that or names no engine setting."""
        head, *settings = text.split(",")
        name, named, rest = head.rpartition("=")
        decoding, _, model = rest.partition("@")
        if not decoding.strip() or (named and not name.strip()):
            raise ValueError(f"--with {text!r} must be {SYNTAX}.")
        fields = dict(_setting(item, text) for item in settings)
        return cls(name.strip() or text, decoding.strip(), model.strip() or None, fields)


def _setting(item: str, text: str) -> tuple[str, Any]:
    key, equals, value = item.partition("=")
    key = key.strip().replace("-", "_")
    if not equals or key not in EngineConfig.__struct_fields__ or key in ("model", "decoding"):
        raise ValueError(f"--with {text!r} sets {item!r}, which is no engine setting; it must be {SYNTAX}.")
    return key, _value(value.strip())


def _value(text: str) -> Any:
    """A number or a flag where it reads as one, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": "none"}.get(text.lower(), text)
