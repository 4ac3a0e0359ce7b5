"""Thoughts in text that grows by several tokens at a time, without a server."""

from __future__ import annotations

import pytest

from engine.messages import Output
from models.tokenizer import Tokenizer
from server.reasoning.registry import REASONING_PARSERS
from server.transcript import Delta, Stopping, Transcript
from tests.server.test_transcript import outputs

THOUGHTS = "first a; then b\n\ndone."
SAID = "return a + b; return 1\n"
TEXT = f"<think>\n{THOUGHTS}\n</think>\n\n{SAID}"


def read(tokenizer: Tokenizer, ids: list[int], width: int, stops: list[str], style: str = "qwen3") -> tuple[Delta, int]:
    """The whole choice, and how many of its tokens were thoughts."""
    parser = REASONING_PARSERS[style].for_prompt("")
    transcript = Transcript(0, tokenizer.detokenizer(), Stopping(stops, [], False, 0), reasoning=parser)
    whole = Delta(0)
    for output in outputs(ids, width, finish_reason="length"):
        whole.add(transcript.take(output))
        if transcript.stop_string is not None and whole.finish_reason is None:
            whole.add(transcript.take(Output(request_id="r", token_ids=[], finish_reason="abort")))
        if whole.finish_reason is not None:
            break
    return whole, transcript.reasoning_tokens


def tokens_until(tokenizer: Tokenizer, ids: list[int], end: int) -> int:
    return next(count for count in range(len(ids) + 1) if len(tokenizer.decode(ids[:count]).rstrip("\ufffd")) >= end)


@pytest.mark.parametrize("width", range(1, 9))
def test_thoughts_and_answer_do_not_depend_on_how_many_tokens_a_step_commits(tokenizer: Tokenizer, width: int) -> None:
    ids = tokenizer.encode(TEXT)
    whole, thoughts = read(tokenizer, ids, width, [])
    assert (whole.reasoning, whole.text) == (THOUGHTS, SAID)
    assert thoughts == tokens_until(tokenizer, ids, TEXT.index("</think>") + len("</think>"))
    assert 0 < thoughts < len(whole.tokens) == len(ids)


@pytest.mark.parametrize("width", range(1, 9))
@pytest.mark.parametrize("stop", [";", "\n", "d"])
def test_stop_strings_are_looked_for_in_the_answer_only(tokenizer: Tokenizer, width: int, stop: str) -> None:
    whole, _ = read(tokenizer, tokenizer.encode(TEXT), width, [stop])
    assert whole.reasoning == THOUGHTS
    if stop in SAID:
        assert whole.text == SAID[: SAID.index(stop)]
        assert (whole.finish_reason, whole.stop_reason) == ("stop", stop)
    else:
        assert (whole.text, whole.finish_reason) == (SAID, "length")


@pytest.mark.parametrize("width", [1, 4])
def test_an_answer_that_ends_in_thought_is_all_thought(tokenizer: Tokenizer, width: int) -> None:
    ids = tokenizer.encode("<think>so </thi")
    whole, thoughts = read(tokenizer, ids, width, [])
    assert (whole.reasoning, whole.text, thoughts) == ("so </thi", "", len(ids))


@pytest.mark.parametrize("width", [1, 4])
def test_an_answer_without_thoughts_counts_none(tokenizer: Tokenizer, width: int) -> None:
    for text in (SAID, "<thin ice", "\n<"):
        whole, thoughts = read(tokenizer, tokenizer.encode(text), width, [])
        assert (whole.reasoning, whole.text, thoughts) == ("", text, 0)
