"""Requests under every kind of grammar, with every setting that meets one."""

from __future__ import annotations

import json
import random
from typing import Any

from engine.messages import Submit
from engine.params import Grammar
from tests.engine.drive import request
from tests.engine.tiny import EOS, FIRST, VOCAB

SCHEMA = {
    "type": "object",
    "properties": {
        "ab": {"type": "string", "maxLength": 6},
        "n": {"type": "integer", "minimum": -20, "maximum": 500},
        "list": {"type": "array", "items": {"enum": ["abc", "de", True, None]}, "maxItems": 3},
        "o": {"type": "object", "properties": {"f": {"type": "number"}}, "additionalProperties": False},
    },
    "required": ["ab", "n", "list"],
    "additionalProperties": False,
}

GRAMMARS = {
    "json_schema": Grammar("json_schema", json.dumps(SCHEMA)),
    "json_object": Grammar("json_object"),
    "regex": Grammar("regex", r"[a-t]{3,12}(=[0-9]{1,4};)?"),
    "letters": Grammar("regex", r"[a-t]+"),
    "choice": Grammar("choice", json.dumps(["abc", "abcdefg", "defghij", "12"])),
    "lark": Grammar(
        "lark", 'start: item ("," item)* "."\nitem: /[a-h]+/ | "(" item ")" | %json {"type": "array", "maxItems": 2}'
    ),
}

SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0},
    {"temperature": 0.8, "top_p": 0.9, "min_tokens": 7},
    {"temperature": 1.5, "top_k": 8, "ignore_eos": True},
    {"temperature": 0.7, "repetition_penalty": 1.3, "presence_penalty": 0.5},
    {"temperature": 1.0, "logit_bias": {FIRST: 5.0, EOS: -3.0}, "stop_token_ids": [FIRST + 4, 40]},
    {"temperature": 1.0, "allowed_token_ids": [EOS, *range(FIRST, VOCAB, 2), 33, 34, 37, 38, 39]},
    {"temperature": 2.0, "min_p": 0.05, "logprobs": 2},
]


def grammar_workload(seed: int = 0) -> list[Submit]:
    """Every grammar with every setting, and a few neighbours without a grammar."""
    rng = random.Random(seed)

    def prompt() -> list[int]:
        return [rng.randrange(FIRST, VOCAB) for _ in range(rng.randint(1, 40))]

    requests = []
    for name, grammar in GRAMMARS.items():
        for index, setting in enumerate(SETTINGS):
            fields = {"max_tokens": rng.randint(12, 40), "seed": rng.getrandbits(60), **setting}
            requests.append(request(f"{name}-{index}", prompt(), rng.randrange(3), grammar=grammar, **fields))
    free = {"max_tokens": 20, "temperature": 0.8}
    return requests + [request(f"free-{index}", prompt(), seed=index, **free) for index in range(8)]
