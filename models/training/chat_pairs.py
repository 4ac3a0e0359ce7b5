"""Chats made of code: a function's docstring asks, the function answers."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterable, Iterator

from models.training.tokenizer_training import TURN_END, TURN_START

REQUESTS = ("Write a Python function: {}", "{}", "Implement `{name}`: {}", "Python: {}", "Please write {name}. {}")
MIN_LINES, MAX_LINES = 4, 40


def chat_pairs(texts: Iterable[str], share: float, seed: int = 0) -> Iterator[str]:
    """Texts as they are, and about `share` of them followed by one ChatML exchange drawn from their functions."""
    rng = random.Random(seed)
    for text in texts:
        yield text
        if rng.random() < share:
            functions = _documented(text)
            if functions:
                yield _exchange(rng, text, rng.choice(functions))


def _documented(text: str) -> list[ast.FunctionDef]:
    """Top-level functions of a sensible length that say in their docstring what they do."""
    return [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef)
        and ast.get_docstring(node)
        and MIN_LINES <= (node.end_lineno or 0) - node.lineno <= MAX_LINES
    ]


def _exchange(rng: random.Random, text: str, function: ast.FunctionDef) -> str:
    summary = (ast.get_docstring(function) or "").split("\n\n")[0].replace("\n", " ")
    request = rng.choice(REQUESTS).format(summary, name=function.name)
    code = "\n".join(text.splitlines()[function.lineno - 1 : function.end_lineno])
    return f"{TURN_START}user\n{request}{TURN_END}\n{TURN_START}assistant\n{code}{TURN_END}\n"
