"""What each format's parser makes of what models write."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.tools.registry import TOOL_PARSERS
from tests.server.pieces import cut, pieces
from tests.server.tools.reading import NAMES, read

ADD = '{"a": 1, "b": {"c": [true, null, -2.5e3], "d": "}\\"\\u00e9"}}'
CALL = f'{{"name": "add", "arguments": {ADD}}}'
LLAMA = f'{{"name": "add", "parameters": {ADD}}}'
WEATHER = '{"arguments": {"city": "Köln"}, "name": "get_weather"}'
KOELN = '{"city": "Köln"}'

#: format, answer, content, calls
ANSWERS: list[tuple[str, str, str, list[list[str]]]] = [
    ("hermes", "Hello.\n", "Hello.\n", []),
    ("hermes", "", "", []),
    ("hermes", f"<tool_call>\n{CALL}\n</tool_call>", "", [["add", ADD]]),
    ("hermes", f"<tool_call>{CALL}</tool_call>", "", [["add", ADD]]),
    ("hermes", f"Let me see.\n\n<tool_call>\n{CALL}\n</tool_call>\n", "Let me see.", [["add", ADD]]),
    (
        "hermes",
        f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{WEATHER}\n</tool_call> Done. ",
        "Done. ",
        [["add", ADD], ["get_weather", KOELN]],
    ),
    ("hermes", f"<tool_call>\n{CALL}\n", "", [["add", ADD]]),
    ("hermes", f"<tool_call>{CALL}<tool_call>{WEATHER}", "", [["add", ADD], ["get_weather", KOELN]]),
    ("hermes", '<tool_call>{"name": "add"}</tool_call>', "", [["add", "{}"]]),
    ("hermes", '<tool_call>{"id": 5, "name": "add", "type": [1]}</tool_call>', "", [["add", "{}"]]),
    ("hermes", '<tool_call>{"name": "add", "arguments": {"a": 1, "b', "", [["add", '{"a": 1, "b']]),
    ("hermes", '<tool_call>{"name": "add", "arguments": {"a": 01}} x', "1}} x", [["add", '{"a": 0']]),
    ("hermes", '<tool_call>{"name": "sub", "arguments": {}}', '<tool_call>{"name": "sub", "arguments": {}}', []),
    ("hermes", "<tool_call> none </tool_call>", "<tool_call> none </tool_call>", []),
    ("hermes", f"<tool_call> none\n<tool_call>{CALL}", "<tool_call> none", [["add", ADD]]),
    ("hermes", "a <tool_call>", "a <tool_call>", []),
    ("hermes", "a <tool_", "a <tool_", []),
    ("hermes", f"<<tool_call>{CALL}", "<", [["add", ADD]]),
    ("hermes", f"{CALL}", CALL, []),
    ("hermes", '<tool_call>{"name": "add", "name": "add"}', '<tool_call>{"name": "add", "name": "add"}', []),
    ("hermes", '<tool_call>{"name": "add", "arguments": "{}"}', '<tool_call>{"name": "add", "arguments": "{}"}', []),
    ("hermes", '<tool_call>{"arguments": {"a": 1}}', '<tool_call>{"arguments": {"a": 1}}', []),
    ("llama3_json", LLAMA, "", [["add", ADD]]),
    ("llama3_json", f"\n <|python_tag|>{LLAMA}", "", [["add", ADD]]),
    ("llama3_json", f"{LLAMA}; {WEATHER}", "", [["add", ADD], ["get_weather", KOELN]]),
    ("llama3_json", f"<|python_tag|>{LLAMA}\n{WEATHER};", "", [["add", ADD], ["get_weather", KOELN]]),
    ("llama3_json", f"{LLAMA} I am done.", "I am done.", [["add", ADD]]),
    ("llama3_json", f"I call {LLAMA}", f"I call {LLAMA}", []),
    ("llama3_json", f"I call <|python_tag|>{LLAMA}", "I call", [["add", ADD]]),
    ("llama3_json", '{"name": "add"}', '{"name": "add"}', []),
    ("llama3_json", '{"city": "Bonn"}', '{"city": "Bonn"}', []),
    ("llama3_json", "<|python_tag|>print(1)", "print(1)", []),
    ("mistral", f"[TOOL_CALLS] [{CALL}]", "", [["add", ADD]]),
    ("mistral", f"[TOOL_CALLS][{CALL}, {WEATHER}]\n", "", [["add", ADD], ["get_weather", KOELN]]),
    ("mistral", f"Wait. [TOOL_CALLS]add[ARGS]{ADD}", "Wait.", [["add", ADD]]),
    ("mistral", f"[TOOL_CALLS]add{ADD}", "", [["add", ADD]]),
    (
        "mistral",
        f"[TOOL_CALLS]add[CALL_ID]a1b2c3d4e[ARGS]{ADD}[TOOL_CALLS]get_weather[ARGS]{KOELN}",
        "",
        [["add", ADD], ["get_weather", KOELN]],
    ),
    ("mistral", f"[TOOL_CALLS]sub[ARGS]{ADD}", f"sub[ARGS]{ADD}", []),
    ("mistral", f"[TOOL_CALLS] [{CALL},, {WEATHER}]", f",, {WEATHER}]", [["add", ADD]]),
    ("mistral", "[TOOL_CALLS] [] ok", " [] ok", []),
    ("mistral", "a [b] [TOOL_", "a [b] [TOOL_", []),
    ("mistral", '[TOOL_CALLS]add[ARGS]{"a": tru', "", [["add", '{"a": tru']]),
    ("mistral", '[TOOL_CALLS]add[ARGS]{"a": trux}', "x}", [["add", '{"a": tru']]),
    ("json", CALL, "", [["add", ADD]]),
    ("json", f" [{LLAMA},\n{WEATHER}] ", "", [["add", ADD], ["get_weather", KOELN]]),
    ("json", f"[{LLAMA}] That is it.", "] That is it.", [["add", ADD]]),
    ("json", '{"name": "Ada", "arguments": {}}', '{"name": "Ada", "arguments": {}}', []),
    ("json", "[1, 2]", "[1, 2]", []),
    ("json", f"See {CALL}", f"See {CALL}", []),
]

HIDDEN = {"llama3_json": ("<|python_tag|>",), "mistral": ("[TOOL_CALLS]",)}
FRAGMENTS = {
    "hermes": ["<tool_call>", "</tool_call>", CALL, WEATHER, '{"name": "add", "arguments": {', "Hello.", "\n"],
    "llama3_json": ["<|python_tag|>", LLAMA, WEATHER, "; ", '{"name": "add", "parameters": {', "print(1)"],
    "mistral": ["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "add", "get_weather", ADD, f"[{CALL}", f", {WEATHER}]", " ["],
    "json": [CALL, WEATHER, f"[{LLAMA}", f", {WEATHER}]", '{"name": "add", ', '"arguments": {"x": 1'],
}


@pytest.mark.parametrize(("name", "answer", "content", "calls"), ANSWERS)
def test_an_answer_is_read(name: str, answer: str, content: str, calls: list[list[str]]) -> None:
    result = read(TOOL_PARSERS[name](NAMES, HIDDEN.get(name, ())), [answer])
    assert (result.content, result.calls) == (content, calls)


@pytest.mark.parametrize(("name", "answer", "content", "calls"), ANSWERS)
def test_an_answer_is_read_character_by_character(name: str, answer: str, content: str, calls: list[list[str]]) -> None:
    result = read(TOOL_PARSERS[name](NAMES, HIDDEN.get(name, ())), answer)
    assert (result.content, result.calls) == (content, calls)


@pytest.mark.parametrize("name", TOOL_PARSERS)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_answer_is_read_differently_in_pieces(name: str, data: st.DataObject) -> None:
    parts = data.draw(cut(FRAGMENTS[name]))
    parser = TOOL_PARSERS[name]
    assert read(parser(NAMES), parts) == read(parser(NAMES), ["".join(parts)])


@pytest.mark.parametrize("name", TOOL_PARSERS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_every_call_of_a_well_formed_answer_is_found(name: str, data: st.DataObject) -> None:
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
    arguments = st.dictionaries(st.text(), values, max_size=4)
    calls = data.draw(st.lists(st.tuples(st.sampled_from(NAMES), arguments), min_size=1, max_size=3))
    ascii_only = data.draw(st.booleans())
    texts = [[called, json.dumps(given, ensure_ascii=ascii_only)] for called, given in calls]
    answer = write(name, texts)
    parts = pieces(answer, data.draw(st.lists(st.integers(0, len(answer)), max_size=20)))
    result = read(TOOL_PARSERS[name](NAMES), parts)
    assert (result.content, result.calls) == ("", texts)


def write(name: str, calls: list[list[str]]) -> str:
    """These calls as a model of the format writes them."""
    key = "parameters" if name == "llama3_json" else "arguments"
    objects = [f'{{"name": "{called}", "{key}": {arguments}}}' for called, arguments in calls]
    return {
        "hermes": "\n".join(f"<tool_call>\n{each}\n</tool_call>" for each in objects),
        "llama3_json": "; ".join(objects),
        "mistral": f"[TOOL_CALLS] [{', '.join(objects)}]",
        "json": f"[{', '.join(objects)}]",
    }[name]
