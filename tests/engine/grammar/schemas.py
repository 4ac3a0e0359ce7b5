"""Random JSON schemas of the shapes that public test suites have: nested objects, enums, arrays, bounds, formats."""

from __future__ import annotations

import random
from typing import Any

NAMES = ["a", "bc", "def", "tag", "item", "list", "id", "n"]
WORDS = ["abc", "dead", "feed", "12", "", "a b", "t.n"]


def random_schema(rng: random.Random, depth: int = 3) -> dict[str, Any]:
    """A schema all of whose values are bounded in length."""
    leaves = [_string, _number, _constant, _pattern, _format]
    branches = [_object, _object, _array, _any_of, _reference]
    make = rng.choice(leaves if depth == 0 else leaves + branches * 2)
    return make(rng, depth)


def root_schema(rng: random.Random) -> dict[str, Any]:
    """An object, whose parts may refer to a definition that all share."""
    return _object(rng, 3) | {"$defs": {"part": random_schema(rng, 0)}}


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = rng.sample(NAMES, rng.randint(1, 4))
    return {
        "type": "object",
        "properties": {name: random_schema(rng, depth - 1) for name in names},
        "required": [name for name in names if rng.random() < 0.7],
        "additionalProperties": False,
    }


def _array(rng: random.Random, depth: int) -> dict[str, Any]:
    least = rng.randint(0, 2)
    return {
        "type": "array",
        "items": random_schema(rng, depth - 1),
        "minItems": least,
        "maxItems": least + rng.randint(0, 2),
    }


def _any_of(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [random_schema(rng, depth - 1) for _ in range(rng.randint(2, 3))]}


def _reference(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"$ref": "#/$defs/part"}


def _string(rng: random.Random, depth: int) -> dict[str, Any]:
    least = rng.randint(0, 3)
    return {"type": "string", "minLength": least, "maxLength": least + rng.randint(0, 6)}


def _number(rng: random.Random, depth: int) -> dict[str, Any]:
    low = rng.randint(-100, 100)
    bounds = {"minimum": low, "maximum": low + rng.randint(0, 1000)}
    return rng.choice(
        [
            {"type": "integer", **bounds},
            {"type": "integer", "exclusiveMinimum": low, "maximum": low + 40, "multipleOf": 2},
            {"type": "number", **bounds},
            {"type": "boolean"},
            {"type": "null"},
        ]
    )


def _constant(rng: random.Random, depth: int) -> dict[str, Any]:
    values: list[Any] = [*WORDS, True, False, None, 3, -1.5, [1, "a"], {"a": 1}]
    return rng.choice([{"const": rng.choice(values)}, {"enum": rng.sample(values, rng.randint(1, 5))}])


def _pattern(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"type": "string", "pattern": rng.choice(["^[a-f]{2,5}$", "^(ab|cd)+e?f$", "^[0-9]{1,3}-[a-c]$"])}


def _format(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"type": "string", "format": rng.choice(["date", "ipv4", "uuid"])}
