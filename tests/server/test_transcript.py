"""Text that grows by several tokens at a time, without a server."""

from __future__ import annotations

from itertools import pairwise

import pytest

from engine.messages import Output, TokenLogprobs
from models.tokenizer import Tokenizer
from server.transcript import Delta, Stopping, Transcript

TEXT = "def add(a, b):\n    return a + b\n\ndef später(x):\n    return '€' * x\n"


def outputs(ids: list[int], width: int, **last: object) -> list[Output]:
    """The tokens as engine outputs of `width` tokens; the last one says `last`."""
    edges = [*range(0, len(ids), width), len(ids)]
    return [
        Output(
            request_id="r",
            token_ids=ids[start:end],
            logprobs=[TokenLogprobs(token, -1.0, 1, [token], [-1.0]) for token in ids[start:end]],
            **(last if end == len(ids) else {}),  # type: ignore[arg-type]
        )
        for start, end in pairwise(edges)
    ]


def read(
    tokenizer: Tokenizer,
    arriving: list[Output],
    strings: tuple[str, ...] = (),
    token_ids: tuple[int, ...] = (),
    keep: bool = False,
    min_tokens: int = 0,
) -> Delta:
    """Everything the transcript shows of these outputs; as in serving, an abort follows a stop string."""
    stopping = Stopping(list(strings), list(token_ids), keep, min_tokens)
    transcript = Transcript(0, tokenizer.detokenizer(), stopping)
    whole = Delta(0)
    for output in arriving:
        whole.add(transcript.take(output))
        if transcript.stop_string is not None and whole.finish_reason is None:
            whole.add(transcript.take(Output(request_id="r", token_ids=[], finish_reason="abort")))
        if whole.finish_reason is not None:
            break
    assert transcript.tokens == len(whole.tokens)
    return whole


@pytest.mark.parametrize("width", range(1, 9))
def test_the_text_does_not_depend_on_how_many_tokens_a_step_commits(tokenizer: Tokenizer, width: int) -> None:
    ids = tokenizer.encode(TEXT)
    whole = read(tokenizer, outputs(ids, width, finish_reason="length"))
    assert whole.text == TEXT
    assert [token.id for token in whole.tokens] == ids
    assert whole.finish_reason == "length"


@pytest.mark.parametrize("width", range(1, 9))
@pytest.mark.parametrize("keep", [False, True])
def test_a_stop_string_cuts_text_tokens_and_logprobs_at_every_offset_of_a_step(
    tokenizer: Tokenizer, width: int, keep: bool
) -> None:
    ids = tokenizer.encode(TEXT)
    for stop in ("return a", "):", "\n\n", "€", "b\n\nd"):
        end = TEXT.index(stop) + len(stop)
        needed = next(n for n in range(len(ids) + 1) if end <= len(tokenizer.decode(ids[:n]).rstrip("\ufffd")))
        whole = read(tokenizer, outputs(ids, width, finish_reason="length"), strings=(stop,), keep=keep)
        assert whole.text == TEXT[: end if keep else end - len(stop)]
        assert [token.id for token in whole.tokens] == ids[:needed]
        assert [token.logprobs.token_id for token in whole.tokens if token.logprobs] == ids[:needed]
        assert (whole.finish_reason, whole.stop_reason) == ("stop", stop)


@pytest.mark.parametrize("width", [1, 3, 4])
def test_a_stop_token_counts_but_shows_no_text_unless_stops_are_kept(tokenizer: Tokenizer, width: int) -> None:
    ids = tokenizer.encode("x = 1\n")
    for keep, text in ((False, tokenizer.decode(ids[:-1])), (True, tokenizer.decode(ids))):
        arriving = outputs(ids, width, finish_reason="stop", stop_token_id=ids[-1])
        whole = read(tokenizer, arriving, token_ids=(ids[-1],), keep=keep)
        assert whole.text == text
        assert [token.id for token in whole.tokens] == ids
        assert (whole.finish_reason, whole.stop_reason) == ("stop", ids[-1])


def test_the_end_of_text_token_is_no_stop_reason(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("x = 1\n"), 0]
    whole = read(tokenizer, outputs(ids, 4, finish_reason="stop", stop_token_id=0))
    assert (whole.text, whole.finish_reason, whole.stop_reason) == ("x = 1\n", "stop", None)


def test_stop_strings_are_looked_for_only_after_min_tokens(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a;b;c;")
    first, second = [n for n, token in enumerate(ids, start=1) if ";" in tokenizer.decode([token])][:2]
    whole = read(tokenizer, outputs(ids, 3, finish_reason="length"), strings=(";",), min_tokens=first)
    assert whole.text == "a;b"
    assert len(whole.tokens) == second


def test_a_stop_string_and_the_token_limit_in_one_step_end_at_the_earlier(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a = 1\nb = 2")
    whole = read(tokenizer, outputs(ids, len(ids), finish_reason="length"), strings=("\n",))
    assert (whole.text, whole.finish_reason) == ("a = 1", "stop")


def test_offsets_point_at_each_token_in_the_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(TEXT)
    whole = read(tokenizer, outputs(ids, 3, finish_reason="length"))
    for token, following in pairwise(whole.tokens):
        piece = TEXT[token.text_offset : following.text_offset]
        assert piece == tokenizer.decode([token.id]) or "\ufffd" in tokenizer.decode([token.id])
