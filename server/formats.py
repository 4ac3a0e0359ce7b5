"""How the served model writes what is more than text: tool calls and thoughts."""

from __future__ import annotations

from dataclasses import dataclass

from models.tokenizer import Tokenizer
from server.reasoning.base import ReasoningParser
from server.reasoning.registry import REASONING_PARSERS
from server.settings import ServerSettings
from server.tools.base import ToolParser
from server.tools.registry import TOOL_PARSERS, detect


@dataclass(frozen=True)
class Formats:
    """The parsers of one server. Without `tools` the model's own format is not known; `auto_tools` lets it choose."""

    tools: type[ToolParser] | None = None
    auto_tools: bool = True
    reasoning: type[ReasoningParser] | None = None

    @classmethod
    def of(cls, settings: ServerSettings, tokenizer: Tokenizer) -> Formats:
        """What the operator named, else what the chat template shows; thoughts are only read where they are named."""
        template = tokenizer.tool_template
        name = settings.tool_call_parser or (None if template is None else detect(template.source))
        return cls(
            tools=None if name is None else TOOL_PARSERS[name],
            auto_tools=settings.auto_tool_choice,
            reasoning=REASONING_PARSERS[settings.reasoning_parser] if settings.reasoning_parser else None,
        )
