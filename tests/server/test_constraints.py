"""The grammar of an answer whose model may think first."""

from __future__ import annotations

import json

import pytest
from llguidance import LLMatcher, LLTokenizer

from engine.params import Grammar
from models.tokenizer import Tokenizer
from server.constraints import answer_grammar
from server.errors import ApiError
from server.reasoning.registry import REASONING_PARSERS
from server.tools.base import Function
from server.tools.choice import ToolUse
from server.tools.grammar import Markers
from server.tools.registry import TOOL_PARSERS
from tests.server.tools.test_grammars import vocabulary

USE = ToolUse(TOOL_PARSERS["hermes"], (Function("now", {"properties": {}}),), several=False, forced=True)
CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'

#: the form, an answer that has it, and one that has not
FORMS = [
    (Grammar("choice", json.dumps(['a/"b', "c::=d"])), 'a/"b', "a"),
    (Grammar("choice", json.dumps(['a/"b', "c::=d"])), "c::=d", "c"),
    (Grammar("regex", r"[a-c]/\/\n\d{2}"), "b//\n12", "b//12"),
    (Grammar("regex", "x\ny"), "x\ny", "xy"),
    (Grammar("json_object"), '{"a": [1]}', "[1]"),
    (Grammar("json_schema", '{"type": "integer"}'), "-12", "1.5"),
    (Grammar("json_schema", "true"), '"x"', "x"),
    (None, CALL, "<tool_call>"),
]


def accepts(guide: LLTokenizer, grammar: Grammar, tokens: list[int]) -> bool:
    matcher = LLMatcher(guide, grammar.source)
    assert not matcher.is_error(), matcher.get_error()
    if matcher.validate_tokens(tokens) < len(tokens):
        return False
    matcher.consume_tokens(tokens)
    return matcher.is_accepting()


def asked(tokenizer: Tokenizer, form: Grammar | None, style: str, prompt: str) -> Grammar:
    thoughts = REASONING_PARSERS[style].for_prompt(prompt).grammar(Markers(tokenizer))
    given = None if form is None else ("response_format", form)
    grammar = answer_grammar(given, USE if form is None else None, thoughts, tokenizer)
    assert grammar is not None
    return grammar[1]


@pytest.mark.parametrize("special", [(), ("<think>", "</think>")], ids=["text", "special tokens"])
@pytest.mark.parametrize(("form", "good", "bad"), FORMS)
def test_the_form_binds_what_follows_the_thoughts(
    special: tuple[str, ...], form: Grammar | None, good: str, bad: str
) -> None:
    tokenizer, guide = vocabulary(special)
    inside = asked(tokenizer, form, "deepseek_r1", "")
    outside = asked(tokenizer, form, "qwen3", "")
    for text, fits in ((good, True), (bad, False)):
        for space in ("", "\n", "\n\n"):
            thought = f"\nFree as <tool_call>; 'a'\n\n</think>{space}{text}"
            assert accepts(guide, inside, tokenizer.encode(thought)) == fits
            assert accepts(guide, outside, tokenizer.encode(f"<think>{thought}")) == fits
        assert accepts(guide, outside, tokenizer.encode(text)) == fits
        assert not accepts(guide, inside, tokenizer.encode(text))


def test_without_thoughts_a_form_stays_as_it_is() -> None:
    tokenizer, _ = vocabulary(())
    form = ("response_format", Grammar("json_object"))
    assert answer_grammar(form, None, None, tokenizer) == form
    assert answer_grammar(None, None, "thoughts: /x/", tokenizer) is None


def test_an_answer_cannot_be_a_call_and_have_another_form() -> None:
    tokenizer, _ = vocabulary(())
    with pytest.raises(ApiError, match="cannot be a tool call and match response_format"):
        answer_grammar(("response_format", Grammar("json_object")), USE, None, tokenizer)
