"""What a task is: problems as prompts, and whether a completion solves one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """`prompt` is what the model continues; `stop` cuts its answer; `data` is for the task's own judgement."""

    prompt: str
    stop: tuple[str, ...]
    data: dict[str, Any]


class Task(ABC):
    """One benchmark of right and wrong answers."""

    name: str

    @abstractmethod
    def problems(self, count: int) -> list[Problem]:
        """`count` problems, spread evenly over the task. Raises ValueError where its data cannot be had."""

    @abstractmethod
    def solves(self, problem: Problem, answer: str) -> bool:
        """Whether the answer, already cut at the stop strings, is right."""


def spread(items: list[Any], count: int) -> list[Any]:
    """`count` of the items at even distances, all where there are fewer."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def cut(text: str, stop: tuple[str, ...]) -> str:
    """The text before the first stop string."""
    ends = [at for at in (text.find(string) for string in stop) if at >= 0]
    return text[: min(ends)] if ends else text
