"""The settings that a benchmark runs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine import LLM


@dataclass(frozen=True)
class Setting:
    """A named way to decode, as EngineConfig fields."""

    name: str
    fields: dict[str, Any]

    def load(self, model: str, common: dict[str, Any]) -> LLM:
        return LLM(model, **{**common, **self.fields})


def standard_settings(draft_length: int) -> list[Setting]:
    """AR first (everything is compared with it), then TiDAR with all groups, one, none, and chosen by cost."""
    k = draft_length
    fixed = [
        Setting(f"TiDAR k={k} {label}", {"decoding": "tidar", "draft_length": k, "predrafts": predrafts})
        for label, predrafts in (("full", "full"), ("one group", "1"), ("no group", "none"))
    ]
    auto = Setting(f"auto k≤{k}", {"decoding": "auto", "draft_length": k, "predrafts": "auto"})
    return [Setting("AR", {"decoding": "ar"}), *fixed, auto]
