"""How far one decoding's answers are another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """Over all prompts: answers that are equal, and the share of the reference's tokens before the first difference."""

    equal: int
    answers: int
    common_prefix: float

    @classmethod
    def between(cls, answers: Sequence[Sequence[int]], reference: Sequence[Sequence[int]]) -> Agreement:
        pairs = list(zip(answers, reference, strict=True))
        common = sum(_common(a, b) for a, b in pairs)
        total = sum(len(b) for _, b in pairs)
        return cls(sum(list(a) == list(b) for a, b in pairs), len(pairs), common / total if total else 1.0)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
