"""Answers to learn from: prompts and what the frozen model itself says to them, greedily."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelError


@dataclass(frozen=True)
class Answer:
    """Token ids of a prompt and of the answer that the model gave to it."""

    prompt: list[int]
    answer: list[int]

    @property
    def tokens(self) -> list[int]:
        return self.prompt + self.answer


def read_answers(path: Path, vocab_size: int, longest: int) -> list[Answer]:
    """The lines {"prompt": [ids], "answer": [ids]} of a file that may still be growing.

    Left out: answers of one token, which leave nothing to draft, and what is longer than `longest` tokens. Raises
    ModelError where a whole line is something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error}): write it with `tidar answers`.") from None
    answers = []
    # what follows the last newline is a line that is still being written
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            raw = json.loads(line)
            answer = Answer(raw["prompt"], raw["answer"])
            valid = all(type(token) is int and 0 <= token < vocab_size for token in answer.tokens)
        except (ValueError, TypeError, KeyError):
            valid = False
        if not valid:
            raise ModelError(f"Line {number} of {path} does not hold a prompt and an answer in this model's token ids.")
        if answer.prompt and len(answer.answer) > 1 and len(answer.tokens) <= longest:
            answers.append(answer)
    return answers
