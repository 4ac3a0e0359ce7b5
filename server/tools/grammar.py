"""Bricks of the grammars that force calls out of a model, in llguidance's Lark dialect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.tokenizer import Tokenizer
    from server.tools.base import Function

#: JSON as chat templates write it, so that no choice is left but the arguments' own
LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
#: keywords that may name arguments elsewhere than in `properties`
COMPOSING = frozenset({"$ref", "allOf", "anyOf", "oneOf", "patternProperties", "if"})


class Markers:
    """How a grammar has to write a format's signs: special tokens by their id, other text as text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def special(self, sign: str) -> int | None:
        """The sign's id where it is a special token."""
        token = self._tokenizer.token_id(sign)
        return token if token in self._tokenizer.special_ids else None

    def sign(self, sign: str) -> str:
        token = self.special(sign)
        return literal(sign) if token is None else f"<[{token}]>"


def literal(text: str) -> str:
    """This very text."""
    return _lark_safe(json.dumps(text, ensure_ascii=False))


def lark_calls(functions: Sequence[Function], key: str) -> str:
    """Rules of `object`, a call of one of the functions with its arguments under `key`."""
    names = " | ".join(f"call_{index}" for index in range(len(functions)))
    rules = [f"object: {names}"]
    for index, function in enumerate(functions):
        opening = f'{{"name": {json.dumps(function.name)}, "{key}": '
        rules.append(f"call_{index}: {literal(opening)} arguments_{index} {literal('}')}")
    return "\n".join(rules) + "\n" + lark_arguments(functions)


def lark_arguments(functions: Sequence[Function]) -> str:
    """Rules `arguments_0`, `arguments_1`, ... of the functions' arguments, in their order."""
    return "".join(f"arguments_{index}: {lark_json(_schema(function))}\n" for index, function in enumerate(functions))


def lark_json(schema: dict[str, Any]) -> str:
    """JSON that matches the schema."""
    return f"%json {_lark_safe(json.dumps(schema))}"


def _lark_safe(text: str) -> str:
    """JSON text without `::=`, by which a whole grammar would be taken for one in GBNF."""
    return text.replace("::=", ":\\u003a=")


def _schema(function: Function) -> dict[str, Any]:
    """The schema of an object. Only a strict function's has to be one that can be held to in full."""
    options = {**LAYOUT, "lenient": not function.strict}
    schema = {**function.parameters, "type": "object", "x-guidance": options}
    if not COMPOSING & schema.keys():
        # What the schema does not forbid it allows; a model should still not invent arguments.
        schema.setdefault("additionalProperties", False)
    return schema
