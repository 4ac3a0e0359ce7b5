"""Output of an asked form, over HTTP: every way to ask for it, and grammars that cannot be used."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from engine import LLM, SamplingParams
from engine.params import Grammar
from tests.server.bad_requests import CHAT, COMPLETIONS
from tests.server.live import LiveServer
from tests.server.sse import stream
from tests.server.test_errors import error_of

MESSAGES = [{"role": "user", "content": "x"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Rom", "Oslo"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["city", "n"],
    "additionalProperties": False,
}
LARK = 'start: "<" word ">"\nword: /[a-z]{2,4}/'


def fits_schema(text: str) -> None:
    jsonschema.validate(json.loads(text), SCHEMA)


def is_object(text: str) -> None:
    assert isinstance(json.loads(text), dict)


def matches(pattern: str) -> Callable[[str], None]:
    def check(text: str) -> None:
        assert re.fullmatch(pattern, text)

    return check


def structured(**fields: Any) -> dict[str, Any]:
    return {"structured_outputs": fields}


ASKED: dict[str, tuple[dict[str, Any], Callable[[str], None]]] = {
    "response_format json_schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}}},
        fits_schema,
    ),
    "response_format text": ({"response_format": {"type": "text"}}, lambda _: None),
    "json object": (structured(json=SCHEMA), fits_schema),
    "json text": (structured(json=json.dumps(SCHEMA)), fits_schema),
    "regex": (structured(regex="[a-c]{3}-[0-9]{2}"), matches("[a-c]{3}-[0-9]{2}")),
    "choice": (structured(choice=["yes", "no, never"]), matches("yes|no, never")),
    "guided_json": ({"guided_json": SCHEMA}, fits_schema),
    "guided_choice": ({"guided_choice": ["yes", "no"]}, matches("yes|no")),
    "grammar in Lark": (structured(grammar=LARK), matches("<[a-z]{2,4}>")),
    "grammar in GBNF": (structured(grammar='root ::= "<" [a-z] [a-z] ">"'), matches("<[a-z]{2}>")),
}


@pytest.mark.parametrize("asked", ASKED)
def test_the_output_has_the_form_that_is_asked_for(server: LiveServer, asked: str) -> None:
    fields, check = ASKED[asked]
    for seed in range(3):
        sampling = {"temperature": 2.0, "seed": seed, "max_tokens": 120}
        choice = server.complete(prompt="x", **sampling, **fields)["choices"][0]
        check(choice["text"])
        message = server.chat(messages=MESSAGES, **sampling, **fields)["choices"][0]
        check(message["message"]["content"])
        if not asked.endswith("text") or asked == "json text":
            assert choice["finish_reason"] == message["finish_reason"] == "stop"


def test_a_json_object_parses(server: LiveServer) -> None:
    """Random weights may go on to the limit; with strings and numbers kept short by bias, they come to an end."""
    ended = 0
    for seed in range(6):
        fields = {"response_format": {"type": "json_object"}, "logit_bias": {"96": 6.0, "5": 4.0}}
        choice = server.chat(messages=MESSAGES, temperature=2.0, seed=seed, max_tokens=150, **fields)["choices"][0]
        if choice["finish_reason"] == "stop":
            is_object(choice["message"]["content"])
            ended += 1
    assert ended


def test_a_stream_has_the_form_too(server: LiveServer) -> None:
    body = {"messages": MESSAGES, "seed": 3, "max_tokens": 60, **structured(json=SCHEMA)}
    chunks = stream(server.url + CHAT, body)
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    fits_schema(text)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_many_at_once_each_in_its_own_form(server: LiveServer) -> None:
    def ask(number: int) -> str:
        pattern = f"{number}-[a-z]{{{1 + number % 7}}}"
        answer = server.complete(prompt="x", max_tokens=30, seed=number, **structured(regex=pattern))
        text = str(answer["choices"][0]["text"])
        assert re.fullmatch(pattern, text)
        return text

    with ThreadPoolExecutor(12) as clients:
        assert len(set(clients.map(ask, range(36)))) == 36


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar("json_schema", json.dumps(SCHEMA)),
        Grammar("regex", "([a-z]{1,6} ){2,}[0-9]+"),
    ],
    ids=["json_schema", "regex"],
)
def test_the_answer_equals_plain_decoding_token_for_token(
    server: LiveServer, served_model: Path, grammar: Grammar
) -> None:
    plain = LLM(served_model, decoding="ar", dtype="float64", threads=1)
    asked = {"json": json.loads(grammar.source)} if grammar.kind == "json_schema" else {"regex": grammar.source}
    prompt = list(range(20, 40))
    for temperature in (0.0, 0.8, 100.0):
        fields: dict[str, Any] = {"temperature": temperature, "seed": 5, "max_tokens": 40}
        expected = plain.generate([prompt], SamplingParams(**fields, grammar=grammar))[0]
        given = server.complete(prompt=prompt, **fields, return_token_ids=True, **structured(**asked))["choices"][0]
        assert (given["token_ids"], given["finish_reason"]) == (expected.token_ids, expected.finish_reason)


HOSTILE: dict[str, dict[str, Any]] = {
    "a step for each of many numbers": {"json": {"type": "integer", "multipleOf": 99_999_989}},
    "rules that overflow the stack": {
        "grammar": "\n".join(f"r{i}: r{i + 1} r{i + 1}" for i in range(9000)) + '\nr9000: "a"\nstart: r0'
    },
    "too long": {"regex": "ab" * 200_000},
    "too many products": {
        "json": {"allOf": [{"anyOf": [{"properties": {f"a{i}": {"const": j}}} for j in range(10)]} for i in range(9)]}
    },
    "a loop": {"json": {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}},
    "deep": {"json": '{"items":' * 5000 + "{}" + "}" * 5000},
    "deep groups": {"regex": "(" * 20_000 + "a" + ")" * 20_000},
    "deep GBNF": {"grammar": "root ::= " + "(" * 5000 + '"a"' + ")" * 5000},
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_grammar_is_refused_while_others_are_served(server: LiveServer, hostile: str) -> None:
    field = next(iter(HOSTILE[hostile]))
    with ThreadPoolExecutor(1) as attacker:
        body = {"prompt": "x", **structured(**HOSTILE[hostile])}
        answer = attacker.submit(server.post, COMPLETIONS, body)
        began = time.monotonic()
        assert server.complete(prompt="x", max_tokens=2)
        assert time.monotonic() - began < 3.0
        error = error_of(answer.result(), 400)
    assert error["param"] == f"structured_outputs.{field}"
    assert server.complete(prompt="x", max_tokens=9, **structured(regex="ab"))["choices"][0]["text"] == "ab"


@pytest.mark.parametrize(
    "demanding",
    [
        {"regex": "(a{1,1000}){1,1000}"},
        {"regex": "[ab]*a[ab]{4000}"},
        {"regex": "x{100000000}"},
        {"json": {"type": "array", "items": {"type": "string", "minLength": 9999}, "minItems": 9999}},
        {"grammar": 'start: s\ns: s s | "a" | "b"'},
        {"json": {"enum": [f"value {i}" for i in range(5000)]}},
    ],
    ids=lambda demanding: str(demanding)[:30],
)
def test_a_demanding_grammar_is_served_or_refused_within_seconds(server: LiveServer, demanding: dict[str, Any]) -> None:
    began = time.monotonic()
    answer = server.post(COMPLETIONS, {"prompt": "x", "max_tokens": 20, "temperature": 2.0, **structured(**demanding)})
    assert answer.status_code in (200, 400), answer.text
    assert time.monotonic() - began < 10
    server.wait_until_idle()


def test_bans_that_leave_nothing_are_the_clients_fault(server: LiveServer) -> None:
    answer = server.post(COMPLETIONS, {"prompt": "x", "allowed_token_ids": [60], **structured(regex="[0-9]+")})
    error = error_of(answer, 400)
    assert error["param"] == "structured_outputs.regex"
    server.wait_until_idle()
