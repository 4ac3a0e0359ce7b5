"""Prompts to measure on: a file of the user's, or the built-in held-out Python code."""

from __future__ import annotations

import json
from pathlib import Path

BUILT_IN = Path(__file__).parent / "prompts" / "held_out_python.jsonl"


def load_prompts(path: Path | None, count: int) -> list[str]:
    """`count` prompts from a JSONL file with a "prompt" field per line, spread over it; repeated if it has fewer."""
    source = path or BUILT_IN
    try:
        prompts = [str(json.loads(line)["prompt"]) for line in source.read_text().splitlines() if line.strip()]
    except FileNotFoundError:
        raise ValueError(f"There is no prompt file at {source}.") from None
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ValueError(f'{source} must hold one JSON object per line with a "prompt" field.') from None
    if not prompts:
        raise ValueError(f"{source} holds no prompts.")
    stride = max(1, len(prompts) // count)
    return [prompts[i * stride % len(prompts)] for i in range(count)]
