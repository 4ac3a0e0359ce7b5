"""The requests of a soak: every kind that clients send, sound and unsound."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

COMPLETIONS, CHAT, RESPONSES = "/v1/completions", "/v1/chat/completions", "/v1/responses"

#: how often each kind comes, in hundredths
SHARES = {
    "short": 24,
    "chat": 18,
    "sampled": 14,
    "long prompt": 6,
    "long answer": 4,
    "several": 3,
    "grammar": 8,
    "response": 5,
    "aborted": 8,
    "over-long": 4,
    "malformed": 6,
}
WORDS = (
    "def",
    "class",
    "return",
    "value",
    "index",
    "items",
    "for",
    "while",
    "list",
    "dict",
    "key",
    "self",
    "name",
    "path",
)
#: few enough that most have been compiled before, as in life
GRAMMARS: list[dict[str, Any]] = [
    {"structured_outputs": {"regex": "[a-z]{1,6}( [a-z]{1,6}){0,3}"}},
    {"structured_outputs": {"choice": ["yes", "no", "maybe"]}},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "item",
                "schema": {
                    "type": "object",
                    "properties": {"n": {"type": "integer", "maximum": 999}, "ok": {"type": "boolean"}},
                    "required": ["n", "ok"],
                    "additionalProperties": False,
                },
            },
        }
    },
]
UNSOUND: list[dict[str, Any]] = [
    {"temperature": -1},
    {"max_tokens": 0},
    {"top_p": 2},
    {"n": 10_000},
    {"logit_bias": {"x": 1}},
    {"prompt": [99_999_999]},
    {"prompt": []},
    {"structured_outputs": {"regex": "(["}},
    {"stop": [""]},
]
BROKEN = b'{"prompt": "x", "max_tok'


@dataclass(frozen=True)
class Ask:
    """One request. `content` replaces the body by bytes; `leaves` is after how many seconds its client goes away."""

    kind: str
    path: str
    body: dict[str, Any]
    content: bytes | None = None
    leaves: float | None = None

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def sound(self) -> bool:
        """Whether it ought to be answered."""
        return self.kind not in ("over-long", "malformed")


def mixed(chance: random.Random, context: int) -> Ask:
    """One request drawn from SHARES, for a model with so many tokens of context."""
    kind = chance.choices(list(SHARES), list(SHARES.values()))[0]
    stream = chance.random() < 0.5
    body: dict[str, Any] = {"prompt": _text(chance, 4, 24), "max_tokens": chance.randint(1, 16), "stream": stream}
    body["ignore_eos"] = True
    if kind == "sampled":
        body |= {"temperature": chance.uniform(0.5, 1.5), "top_p": 0.95, "top_k": 40, "seed": chance.getrandbits(32)}
        body |= {"presence_penalty": 0.5, "logprobs": 2} if chance.random() < 0.3 else {}
    elif kind == "long prompt":
        body |= {"prompt": _tokens(chance, context // 4, context // 2), "max_tokens": chance.randint(1, 8)}
    elif kind == "long answer":
        body["max_tokens"] = chance.randint(48, 96)
    elif kind == "several":
        body |= {"n": chance.randint(2, 4), "temperature": 1.0, "max_tokens": 6}
    elif kind == "grammar":
        body |= chance.choice(GRAMMARS) | {"max_tokens": 24, "ignore_eos": False}
    elif kind == "aborted":
        body |= {"max_tokens": 200}
        return Ask(kind, COMPLETIONS, body, leaves=chance.uniform(0.0, 0.4))
    elif kind == "over-long":
        body |= {"prompt": _tokens(chance, context, 2 * context)}
    elif kind == "malformed":
        if chance.random() < 0.2:
            return Ask(kind, COMPLETIONS, {}, content=BROKEN)
        body |= chance.choice(UNSOUND)
    elif kind == "chat":
        return Ask(kind, CHAT, _chat(body))
    elif kind == "response":
        sent = {"input": body["prompt"], "max_output_tokens": body["max_tokens"], "stream": stream, "ignore_eos": True}
        return Ask(kind, RESPONSES, sent)
    return Ask(kind, COMPLETIONS, body)


def _chat(body: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": body.pop("prompt")}], **body}


def _text(chance: random.Random, least: int, most: int) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(least, most)))


def _tokens(chance: random.Random, least: int, most: int) -> list[int]:
    return [chance.randint(4, 900) for _ in range(chance.randint(least, most))]
