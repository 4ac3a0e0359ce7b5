"""Tools and their calls, in and out."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import ConfigDict, Field

from server.protocol.fields import RequestPart, ResponseModel


class FunctionDefinition(RequestPart):
    """A function that may be called; fields beyond these go to the chat template as they are."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(RequestPart):
    """An offered tool."""

    type: Literal["function"]
    function: FunctionDefinition

    def for_template(self) -> dict[str, Any]:
        """The tool as chat templates expect it: what was sent."""
        sent = {name: value for name, value in self.function if name in self.function.model_fields_set}
        return {"type": self.type, "function": sent}


class FunctionName(RequestPart):
    """Which function."""

    name: str


class NamedTool(RequestPart):
    """The tool that has to be called."""

    type: Literal["function"]
    function: FunctionName


class CalledFunction(RequestPart):
    """A call that was made; `arguments` is JSON text."""

    name: str
    arguments: str = "{}"


class PastCall(RequestPart):
    """A call in an earlier assistant message. `index` is what streams number calls by."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = Field(None, ge=0)

    def for_template(self) -> dict[str, Any]:
        """The call as chat templates expect it: the arguments as an object. Raises ValueError where they are none."""
        arguments = json.loads(self.function.arguments or "{}")
        if not isinstance(arguments, dict):
            raise ValueError("an object is wanted")
        call = {"type": self.type, "function": {"name": self.function.name, "arguments": arguments}}
        return call if self.id is None else {"id": self.id, **call}


class FunctionCall(ResponseModel):
    """A call in an answer; in a stream `arguments` is the next piece of them."""

    name: str | None = None
    arguments: str


class ToolCall(ResponseModel):
    """A call of an answer."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class ToolCallDelta(ResponseModel):
    """What a chunk adds to call number `index`; the first one names it."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionCall
