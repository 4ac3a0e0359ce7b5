"""Which styles of reasoning there are."""

from __future__ import annotations

from server.reasoning.base import ReasoningParser
from server.reasoning.deepseek_r1 import DeepseekR1Parser
from server.reasoning.qwen3 import Qwen3Parser

REASONING_PARSERS: dict[str, type[ReasoningParser]] = {"qwen3": Qwen3Parser, "deepseek_r1": DeepseekR1Parser}
