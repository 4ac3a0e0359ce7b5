"""From what a request asks for to a grammar as llguidance reads it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from llguidance import LLMatcher, LLParserLimits
from llguidance.gbnf_to_lark import GbnfToLarkError, any_to_lark

from engine.errors import RequestError
from engine.params import Grammar

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

MAX_SOURCE_BYTES = 256 * 2**10
MAX_CHOICES = 1024

#: Between JSON's parts: nothing, a space, or a new line and its indentation. With more, weak models never come back.
WHITESPACE: JsonCompileOptions = {"whitespace_pattern": r"[ ]|\n[ \t]{0,32}"}

#: What one mask may cost: a few milliseconds of work, and tens of megabytes of lexer states over a grammar's life.
LIMITS = LLParserLimits(step_lexer_fuel=100_000, max_lexer_states=50_000, verbose_errors=False)


def grammar_text(grammar: Grammar) -> str:
    """The grammar in llguidance's own words. Raises RequestError where the source is not even of its kind."""
    try:
        size = len(grammar.source.encode())
    except UnicodeEncodeError as error:
        raise grammar_error(f"its source has half a surrogate pair at character {error.start}") from None
    if size > MAX_SOURCE_BYTES:
        raise grammar_error(f"its source has {size} bytes, but {MAX_SOURCE_BYTES} are allowed")
    if grammar.kind == "regex":
        return LLMatcher.grammar_from_regex(grammar.source)
    if grammar.kind == "lark":
        return LLMatcher.grammar_from_lark(_lark(grammar.source))
    if grammar.kind == "choice":
        return LLMatcher.grammar_from_lark(_choice(grammar.source))
    schema = '{"type": "object"}' if grammar.kind == "json_object" else grammar.source
    if schema.strip() == "true":
        schema = "{}"
    try:
        return LLMatcher.grammar_from_json_schema(schema, defaults=WHITESPACE)
    except ValueError as error:
        raise grammar_error(str(error)) from None


def grammar_error(reason: str) -> RequestError:
    """One sentence from a library's complaint, whose first line says it all."""
    lines = reason.strip().splitlines() or ["it failed"]
    return RequestError(f"The grammar cannot be used: {lines[0][:300].rstrip('.')}.", "grammar")


def _lark(source: str) -> str:
    """Lark as it is; GBNF, which writes `::=`, translated."""
    if "::=" not in source:
        return source
    try:
        return any_to_lark(source)
    except (GbnfToLarkError, RecursionError) as error:
        raise grammar_error(str(error)) from None


def _choice(source: str) -> str:
    try:
        choices = json.loads(source)
    except ValueError as error:
        raise grammar_error(f"the choices are no JSON list: {error}") from None
    if not isinstance(choices, list) or not 1 <= len(choices) <= MAX_CHOICES:
        raise grammar_error(f"give a list of 1 to {MAX_CHOICES} choices")
    if not all(isinstance(choice, str) and choice for choice in choices):
        raise grammar_error("each choice has to be a string of at least one character")
    return "start: " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)
