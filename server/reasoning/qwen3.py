"""Qwen 3: the model opens the tag itself, or answers at once; some templates open it for the model."""

from __future__ import annotations

from server.reasoning.base import ReasoningParser


class Qwen3Parser(ReasoningParser):
    """Thoughts where the model, or the template, opened the tag."""

    @classmethod
    def for_prompt(cls, prompt: str) -> Qwen3Parser:
        return cls(inside=prompt.rstrip().endswith(cls.start))
