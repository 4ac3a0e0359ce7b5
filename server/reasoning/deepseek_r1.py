"""DeepSeek R1: the answer begins with thoughts, whether or not the opening tag is written."""

from __future__ import annotations

from server.reasoning.base import ReasoningParser


class DeepseekR1Parser(ReasoningParser):
    """Thoughts from the start, unless the prompt has closed them already."""

    @classmethod
    def for_prompt(cls, prompt: str) -> DeepseekR1Parser:
        return cls(inside=not prompt.rstrip().endswith(cls.end))
