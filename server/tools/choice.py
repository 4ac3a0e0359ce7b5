"""Which tools a request offers and how they may be called, checked at the door."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import jsonschema

from models.tokenizer import Tokenizer
from server.errors import bad_request
from server.formats import Formats
from server.protocol.tools import NamedTool, Tool
from server.tools.base import Function, ToolParser
from server.tools.generic_json import GenericJsonParser
from server.tools.grammar import Markers

MAX_TOOLS = 128
MAX_TOOLS_LENGTH = 192 * 1024
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Offer(Protocol):
    """The fields of a request that are about tools."""

    tools: list[Tool] | None
    tool_choice: str | NamedTool | None
    parallel_tool_calls: bool | None


@dataclass(frozen=True)
class ToolUse:
    """What calls an answer may hold: of `functions`, with `several` more than one; at least one if `forced`."""

    parser: type[ToolParser]
    functions: tuple[Function, ...]
    several: bool
    forced: bool

    def reader(self, hidden: frozenset[str]) -> ToolParser:
        """A parser for one answer; `hidden` are the signs that readers do not see."""
        return self.parser([function.name for function in self.functions], hidden)

    def grammar(self, tokenizer: Tokenizer) -> str:
        """Lark rules of the calls, `calls` being the first."""
        return self.parser.grammar(self.functions, self.several, Markers(tokenizer))


def tool_use(request: Offer, formats: Formats) -> ToolUse | None:
    """How tools may be used, None where not at all. Raises a 400 for bad tools and choices that cannot be had."""
    choice, functions = request.tool_choice, _functions(request.tools or [])
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        raise bad_request("tool_choice must be none, auto, required or name a function.", "tool_choice")
    if not functions and choice not in (None, "none"):
        raise bad_request("tool_choice needs tools to choose from; give tools or leave it out.", "tool_choice")
    if not functions or choice == "none":
        return None
    if isinstance(choice, NamedTool):
        named = tuple(function for function in functions if function.name == choice.function.name)
        if not named:
            message = f"tool_choice names {choice.function.name[:64]!r}, which is none of the tools."
            raise bad_request(message, "tool_choice")
        return ToolUse(formats.tools or GenericJsonParser, named, several=False, forced=True)
    several = request.parallel_tool_calls is not False
    if choice == "required":
        return ToolUse(formats.tools or GenericJsonParser, functions, several, forced=True)
    if formats.tools is None or not formats.auto_tools:
        raise bad_request(
            "Tools on the model's own choice need a server with --enable-auto-tool-choice and a fitting "
            "--tool-call-parser; else set tool_choice to required, a named function or none.",
            "tool_choice",
        )
    return ToolUse(formats.tools, functions, several, forced=False)


def _functions(tools: list[Tool]) -> tuple[Function, ...]:
    """Raises a 400 naming the first tool that cannot be offered."""
    if len(tools) > MAX_TOOLS:
        raise bad_request(f"There are {len(tools)} tools; {MAX_TOOLS} are allowed.", "tools")
    functions: dict[str, Function] = {}
    length = 0
    for index, tool in enumerate(tools):
        given, param = tool.function, f"tools[{index}].function"
        if not NAME.fullmatch(given.name):
            message = "A function's name has 1 to 64 letters, digits, underscores, dots and dashes."
            raise bad_request(message, f"{param}.name")
        if given.name in functions:
            raise bad_request(f"Two tools are named {given.name}.", f"{param}.name")
        try:
            source = json.dumps(given.parameters or {}, allow_nan=False)
            problem = _schema_problem(source) if len(source) <= MAX_TOOLS_LENGTH else None
        except (ValueError, RecursionError):
            problem = "it is nested too deeply, or holds a number that JSON does not know"
        if problem is not None:
            raise bad_request(f"The parameters of {given.name} are no JSON schema: {problem}.", f"{param}.parameters")
        length += len(source) + len(given.description or "")
        if length > MAX_TOOLS_LENGTH:
            raise bad_request(f"The tools are longer than {MAX_TOOLS_LENGTH} characters; shorten them.", "tools")
        functions[given.name] = Function(
            given.name, given.parameters or {"properties": {}}, bool(given.strict), given.description or ""
        )
    return tuple(functions.values())


@lru_cache(maxsize=512)
def _schema_problem(source: str) -> str | None:
    """What is wrong with the schema of a function's arguments; None if nothing is."""
    schema = json.loads(source)
    if schema.get("type", "object") != "object":
        return "arguments are an object, so its type must be object"
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        place = "".join(f"[{part!r}]" for part in error.absolute_path)
        return f"{' '.join(error.message.split())[:200].rstrip('.')}{f' at {place}' if place else ''}"
    return None
