"""The one grammar of a chat answer: its thoughts, if the model writes any, then the form that was asked for."""

from __future__ import annotations

import json
import re

from engine.grammar.source import WHITESPACE
from engine.params import Grammar
from models.tokenizer import Tokenizer
from server.errors import bad_request
from server.tools.choice import ToolUse
from server.tools.grammar import lark_json, literal

Asked = tuple[str, Grammar]


def answer_grammar(form: Asked | None, use: ToolUse | None, thoughts: str | None, tokenizer: Tokenizer) -> Asked | None:
    """The grammar and the field that asks for it. Raises a 400 where calls and another form are asked for at once.

    `thoughts` are Lark rules of what comes before. A Lark grammar of the client's own has to allow thoughts by itself.
    """
    if use is not None and use.forced:
        if form is not None:
            raise bad_request(f"An answer cannot be a tool call and match {form[0]} too.", "tool_choice")
        return "tools", _after(thoughts, "calls", use.grammar(tokenizer))
    if form is None or thoughts is None or form[1].kind == "lark":
        return form
    field, grammar = form
    return field, _after(thoughts, "answer", f"answer: {_rule(grammar, field)}\n")


def _after(thoughts: str | None, name: str, rules: str) -> Grammar:
    start = f"start: {name}\n" if thoughts is None else f"start: thoughts {name}\n{thoughts}"
    return Grammar("lark", start + rules)


def _rule(grammar: Grammar, field: str) -> str:
    """The form as the right side of a Lark rule."""
    if grammar.kind == "regex":
        pattern = re.sub(r"(?s)\\.|/|\n", _within_slashes, grammar.source)
        return f"/{pattern}/"
    if grammar.kind == "choice":
        return " | ".join(literal(choice) for choice in json.loads(grammar.source))
    try:
        schema = json.loads(grammar.source) if grammar.kind == "json_schema" else {"type": "object"}
    except (ValueError, RecursionError):
        raise bad_request(f"{field} is no JSON schema.", field) from None
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise bad_request(f"{field} is no JSON schema that anything matches.", field)
    return lark_json({"x-guidance": WHITESPACE, **schema})


def _within_slashes(found: re.Match[str]) -> str:
    """Slashes and new lines end a pattern, unless they are escaped already."""
    return {"/": r"\/", "\n": r"\n"}.get(found[0], found[0])
