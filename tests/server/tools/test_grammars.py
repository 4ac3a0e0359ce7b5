"""What the grammars let through is read back by the parsers as valid calls, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import jsonschema
import pytest
from llguidance import LLMatcher, LLTokenizer
from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from models.tokenizer import Tokenizer
from server.tools.base import Function
from server.tools.grammar import Markers
from server.tools.registry import TOOL_PARSERS
from tests.server.tiny_model import SHIPPED
from tests.server.tools.reading import read
from tests.server.tools.test_parsers import write

ADD: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"enum": [1, 2.5, "x", None]}, "c": {"$ref": "#/$defs/flag"}},
    "required": ["a", "c"],
    "$defs": {"flag": {"type": "boolean"}},
}
FUNCTIONS = [Function("add", ADD), Function("get_weather", {"properties": {}})]
SIGNS = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]")


def vocabulary(special: Sequence[str]) -> tuple[Tokenizer, LLTokenizer]:
    """The shipped vocabulary with these signs as special tokens, twice."""
    fast = FastTokenizer.from_file(str(SHIPPED / "tokenizer.json"))
    fast.add_special_tokens([AddedToken(sign, special=True) for sign in special])
    return Tokenizer(fast, {}), LLTokenizer(fast.to_str(), eos_token=0)


def generate(matcher: LLMatcher, size: int, chance: random.Random) -> list[int]:
    """Tokens drawn evenly from those that the grammar allows, up to the end of text."""
    tokens: list[int] = []
    while not matcher.is_stopped() and len(tokens) < 2000:
        mask = matcher.compute_bitmask()
        allowed = [token for token in range(size) if mask[token // 8] >> token % 8 & 1]
        tokens.append(chance.choice(allowed))
        assert matcher.consume_token(tokens[-1]), matcher.get_error()
    return tokens


@pytest.mark.parametrize("special", [(), SIGNS[:3], SIGNS], ids=["text", "three tokens", "all tokens"])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", TOOL_PARSERS)
def test_whatever_a_grammar_allows_is_a_valid_call(name: str, several: bool, special: tuple[str, ...]) -> None:
    tokenizer, guide = vocabulary(special)
    parser = TOOL_PARSERS[name]
    source = "start: calls\n" + parser.grammar(FUNCTIONS, several, Markers(tokenizer))
    for seed in range(8):
        matcher = LLMatcher(guide, source)
        assert not matcher.is_error(), matcher.get_error()
        tokens = generate(matcher, tokenizer.vocab_size, random.Random(seed))
        text = tokenizer.decode([token for token in tokens if token != 0], skip_special_tokens=False)
        result = read(parser(["add", "get_weather"]), [text])
        assert result.content == ""
        assert result.calls if several else len(result.calls) == 1, text
        for called, arguments in result.calls:
            jsonschema.validate(json.loads(arguments), ADD if called == "add" else {"maxProperties": 0})


@pytest.mark.parametrize("name", TOOL_PARSERS)
def test_a_grammar_takes_the_format_as_models_write_it(name: str) -> None:
    tokenizer, guide = vocabulary(())
    calls = [["get_weather", "{}"], ["add", '{"a": -3, "b": "x", "c": true}']]
    for several, written in ((True, calls), (False, calls[1:])):
        if name == "json" and not several:
            text = '{"name": "add", "arguments": ' + calls[1][1] + "}"
        else:
            text = write(name, written)
        source = "start: calls\n" + TOOL_PARSERS[name].grammar(FUNCTIONS, several, Markers(tokenizer))
        matcher = LLMatcher(guide, source)
        tokens = tokenizer.encode(text)
        assert matcher.validate_tokens(tokens) == len(tokens), text
        matcher.consume_tokens(tokens)
        assert matcher.is_accepting()


def test_a_schema_that_can_only_be_held_to_in_part_is_refused_for_strict_functions_only() -> None:
    tokenizer, _ = vocabulary(())
    schema = {"type": "object", "properties": {"a": {"type": "integer", "not": {"const": 3}}}}
    for strict in (False, True):
        function = Function("add", schema, strict)
        source = "start: calls\n" + TOOL_PARSERS["json"].grammar([function], False, Markers(tokenizer))
        failed, _ = LLMatcher.validate_grammar_with_warnings(source)
        assert failed == strict
