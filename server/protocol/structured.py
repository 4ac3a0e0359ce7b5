"""Fields that ask for output of a certain form, and the one grammar they come to."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.params import Grammar
from server.errors import bad_request
from server.protocol.fields import RequestPart, one_of

Schema = Annotated[dict[str, Any] | str | bool, one_of("a JSON schema, as an object or as text")]


class JsonSchemaFormat(RequestPart):
    """OpenAI's named schema; `strict` is always kept to."""

    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | bool, one_of("a JSON schema")] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(RequestPart):
    """The form the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class StructuredOutputs(RequestPart):
    """vLLM's way to say it; exactly one of these."""

    json_: Schema | None = Field(None, alias="json")
    json_object: bool | None = None
    regex: str | None = None
    choice: list[str] | None = Field(None, min_length=1)
    grammar: str | None = None

    def grammars(self, prefix: str) -> list[tuple[str, Grammar]]:
        """Everything that is asked for, each with the name of its field, which begins with `prefix`."""
        asked = []
        if self.json_ is not None:
            asked.append((f"{prefix}json", schema_grammar(self.json_, f"{prefix}json")))
        if self.json_object:
            asked.append((f"{prefix}json_object", Grammar("json_object")))
        if self.regex is not None:
            asked.append((f"{prefix}regex", Grammar("regex", self.regex)))
        if self.choice is not None:
            asked.append((f"{prefix}choice", Grammar("choice", json.dumps(self.choice))))
        if self.grammar is not None:
            asked.append((f"{prefix}grammar", Grammar("lark", self.grammar)))
        return asked


def schema_grammar(schema: dict[str, Any] | str | bool, param: str) -> Grammar:
    """A schema as the engine takes it; an empty one allows any JSON. Raises a 400 where it is nested too deeply."""
    if isinstance(schema, str):
        return Grammar("json_schema", schema)
    try:
        return Grammar("json_schema", json.dumps(schema))
    except RecursionError:
        raise bad_request("The schema is nested too deeply.", param) from None


def chosen_grammar(
    response_format: ResponseFormat | None, structured: StructuredOutputs | None, guided: StructuredOutputs
) -> tuple[str, Grammar] | None:
    """The grammar that is asked for and its field's name; `guided` holds vLLM's older guided_* fields.

    Raises a 400 for none in structured_outputs, or several anywhere.
    """
    asked: list[tuple[str, Grammar]] = []
    if response_format is not None and response_format.type == "json_object":
        asked.append(("response_format", Grammar("json_object")))
    elif response_format is not None and response_format.type == "json_schema":
        if response_format.json_schema is None:
            raise bad_request("response_format of type json_schema needs a json_schema.", "response_format.json_schema")
        param = "response_format.json_schema.schema"
        asked.append((param, schema_grammar(response_format.json_schema.schema_, param)))
    if structured is not None:
        wanted = structured.grammars("structured_outputs.")
        if not wanted:
            raise bad_request(
                "structured_outputs needs one of json, json_object, regex, choice and grammar.", "structured_outputs"
            )
        asked += wanted
    asked += guided.grammars("guided_")
    if len(asked) > 1:
        fields = " and ".join(field for field, _ in asked)
        raise bad_request(f"Ask for one form of output; {fields} are given.", asked[-1][0])
    return asked[0] if asked else None
