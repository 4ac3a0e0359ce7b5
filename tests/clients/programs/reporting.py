"""What the client programs have in common: they run named cases and print what came of them as one JSON object."""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

URL, MODEL = sys.argv[1:3]
SYSTEM, USER = "You write Python.", "Add two numbers."
MESSAGES = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}]
SAMPLING: dict[str, Any] = {"temperature": 2.0, "seed": 7, "max_tokens": 16}

#: a schema that even random weights come to the end of
STEP = {
    "type": "object",
    "properties": {"done": {"type": "boolean"}, "kind": {"enum": ["sum", "product"]}},
    "required": ["done", "kind"],
    "additionalProperties": False,
}
PLAN: dict[str, Any] = {
    "title": "plan",
    "description": "Two steps.",
    "type": "object",
    "properties": {"first": STEP, "second": STEP},
    "required": ["first", "second"],
    "additionalProperties": False,
}
ROOMY = {**SAMPLING, "max_tokens": 400}


def error(raised: Exception) -> dict[str, Any]:
    """A refusal as the client's exception shows it."""
    return {"type": type(raised).__name__, "status": getattr(raised, "status_code", None), "message": str(raised)}


def counts(usage: Any) -> dict[str, int]:
    """The figures of OpenAI's usage object that all clients show."""
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}


def report(cases: list[Callable[[], Any]]) -> None:
    """Run every case; one that raises is reported as failed and stops no other."""
    results = {}
    with asyncio.Runner() as runner:  # one loop for all, since clients keep their connections
        for case in cases:
            try:
                result = case()
                results[case.__name__] = runner.run(result) if inspect.iscoroutine(result) else result
            except Exception as raised:
                results[case.__name__] = {"failed": error(raised)}
    print(json.dumps(results))
