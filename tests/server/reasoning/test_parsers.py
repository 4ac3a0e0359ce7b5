"""Thoughts told apart from the answer, in pieces of any size."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.reasoning.base import Phase, ReasoningParser
from server.reasoning.registry import REASONING_PARSERS
from tests.server.pieces import cut

#: style, prompt's end, answer, thoughts, what is said
ANSWERS = [
    ("qwen3", "assistant\n", "<think>\nHm, so.\n</think>\n\nYes.\n", "Hm, so.", "Yes.\n"),
    ("qwen3", "assistant\n", "Yes.", "", "Yes."),
    ("qwen3", "assistant\n", "\n Yes. <think>no</think>", "", "\n Yes. <think>no</think>"),
    ("qwen3", "assistant\n", "<think>\n\n</think>\n\nYes.", "", "Yes."),
    ("qwen3", "assistant\n", "<think>Hm, so", "Hm, so", ""),
    ("qwen3", "assistant\n", "<think>Hm </thi", "Hm </thi", ""),
    ("qwen3", "assistant\n", "<think>Hm\n\n", "Hm", ""),
    ("qwen3", "assistant\n", "<thin", "", "<thin"),
    ("qwen3", "assistant\n", "\n", "", "\n"),
    ("qwen3", "assistant\n<think>\n", "Hm.\n</think>Yes.", "Hm.", "Yes."),
    ("qwen3", "assistant\n<think>\n\n</think>\n\n", "Yes.", "", "Yes."),
    ("deepseek_r1", "<think>\n", "Hm.\n</think>\n\nYes. </think>", "Hm.", "Yes. </think>"),
    ("deepseek_r1", "assistant", "<think>\nHm. <think> </think>Yes.", "Hm. <think>", "Yes."),
    ("deepseek_r1", "assistant", " Hm </ </think", "Hm </ </think", ""),
    ("deepseek_r1", "assistant", "</think>Yes.", "", "Yes."),
    ("deepseek_r1", "assistant", "<thi", "<thi", ""),
    ("deepseek_r1", "<think></think>", "Yes.", "", "Yes."),
]
FRAGMENTS = ["<think>", "</think>", "Hm.", "\n\n", "Yes.", "<", "/think"]


def read(parser: ReasoningParser, pieces: Iterable[str]) -> tuple[str, str]:
    """Thoughts, and what is said."""
    told = [*(parser.push(piece) for piece in pieces), parser.finish()]
    return "".join(thought for thought, _ in told), "".join(said for _, said in told)


@pytest.mark.parametrize(("style", "prompt", "answer", "thoughts", "said"), ANSWERS)
def test_thoughts_are_told_apart(style: str, prompt: str, answer: str, thoughts: str, said: str) -> None:
    assert read(REASONING_PARSERS[style].for_prompt(prompt), [answer]) == (thoughts, said)
    assert read(REASONING_PARSERS[style].for_prompt(prompt), answer) == (thoughts, said)


@pytest.mark.parametrize("style", REASONING_PARSERS)
@pytest.mark.parametrize("prompt", ["", "<think>", "</think>"])
@settings(max_examples=200, deadline=None)
@given(parts=cut(FRAGMENTS))
def test_no_answer_is_read_differently_in_pieces(style: str, prompt: str, parts: list[str]) -> None:
    parser = REASONING_PARSERS[style]
    assert read(parser.for_prompt(prompt), parts) == read(parser.for_prompt(prompt), ["".join(parts)])


@given(st.lists(st.sampled_from(FRAGMENTS), min_size=1))
def test_thoughts_are_shown_before_they_end(parts: list[str]) -> None:
    parser = REASONING_PARSERS["deepseek_r1"].for_prompt("")
    thought, said = parser.push("First. " + "".join(parts))
    assert thought.startswith("First.")
    assert (said == "") or parser.phase is Phase.ANSWERING
