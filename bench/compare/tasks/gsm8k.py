"""GSM8K (arXiv 2110.14168): grade-school word problems; solved where the last number of the answer is the right one."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bench.compare.tasks.base import Problem, Task, spread

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
STOP = ("\nQuestion:",)


class Gsm8k(Task):
    """`path`: a JSONL file with `question` and `answer`, whose answers end in "#### number"."""

    name = "gsm8k"

    def __init__(self, path: Path) -> None:
        self._path = path

    def problems(self, count: int) -> list[Problem]:
        """The file's last problems, which training leaves out."""
        try:
            rows = [json.loads(line) for line in self._path.read_text().splitlines() if line.strip()]
            return [Problem(_prompt(row["question"]), STOP, row) for row in spread(rows[-500:], count)]
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(
                f'{self._path} must be a JSONL file with "question" and "answer" fields, as GSM8K is published.'
            ) from None

    def solves(self, problem: Problem, answer: str) -> bool:
        right = _last_number(problem.data["answer"].rpartition("####")[2])
        return right is not None and _last_number(answer) == right


def _prompt(question: str) -> str:
    return f"Question: {question}\nAnswer:"


def _last_number(text: str) -> float | None:
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
