"""Tools in plain words, for chat templates that know of none."""

from __future__ import annotations

import json
from typing import Any

from server.tools.choice import ToolUse

ASKED = {True: "Answer with a call", False: "Answer in words, or with a call"}


def with_tools(messages: list[dict[str, Any]], use: ToolUse) -> list[dict[str, Any]]:
    """The conversation with a system message, or more of the one it has, that describes the tools."""
    described = "\n".join(
        json.dumps({"name": function.name, "description": function.description, "parameters": function.parameters})
        for function in use.functions
    )
    text = f"Functions:\n{described}\n{ASKED[use.forced]}, written {use.parser.example}"
    first = messages[0]
    if first["role"] not in ("system", "developer"):
        return [{"role": "system", "content": text}, *messages]
    return [{**first, "content": f"{first['content']}\n\n{text}"}, *messages[1:]]
