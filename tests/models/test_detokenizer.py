"""Text that leaves piece by piece is the text of decoding everything at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.detokenizer import IncrementalDetokenizer, WindowDetokenizer
from models.tokenizer import Tokenizer
from tests.models import tokenizers_on_disk

BYTE_LEVEL = Tokenizer(tokenizers_on_disk.byte_level(), {"eos_token": "<|end|>"})
SENTENCEPIECE = Tokenizer(tokenizers_on_disk.sentencepiece(), {"eos_token": "</s>"})
WORD_PIECES = Tokenizer(tokenizers_on_disk.word_pieces(), {})

#: steps of several tokens, as a window commits them: sizes to cut a token list by, used in turn
steps = st.lists(st.integers(1, 7), min_size=1, max_size=20)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text(" \n▁abc狐🦊é\ufffd", max_size=60)


def in_steps(token_ids: list[int], sizes: list[int]) -> list[list[int]]:
    cut: list[list[int]] = []
    start = 0
    while start < len(token_ids):
        size = sizes[len(cut) % len(sizes)]
        cut.append(token_ids[start : start + size])
        start += size
    return cut


def run(detokenizer: IncrementalDetokenizer, token_ids: list[int], sizes: list[int]) -> list[str]:
    return [*(detokenizer.push(step) for step in in_steps(token_ids, sizes)), detokenizer.flush()]


@given(texts, steps)
def test_any_text_in_any_steps_arrives_whole_from_bytes(text: str, sizes: list[int]) -> None:
    token_ids = BYTE_LEVEL.encode(text)
    pieces = run(BYTE_LEVEL.detokenizer(), token_ids, sizes)
    assert "".join(pieces) == BYTE_LEVEL.decode(token_ids) == text


@given(texts, steps)
def test_any_text_in_any_steps_arrives_whole_from_sentencepiece(text: str, sizes: list[int]) -> None:
    token_ids = SENTENCEPIECE.encode(text)
    pieces = run(SENTENCEPIECE.detokenizer(), token_ids, sizes)
    assert "".join(pieces) == SENTENCEPIECE.decode(token_ids)


@given(st.lists(st.integers(0, WORD_PIECES.vocab_size + 3), max_size=40), steps)
def test_tokens_of_any_other_vocabulary_arrive_as_decoded_at_once(token_ids: list[int], sizes: list[int]) -> None:
    pieces = run(WORD_PIECES.detokenizer(), token_ids, sizes)
    assert "".join(pieces) == WORD_PIECES.decode(token_ids)


@given(st.lists(st.integers(0, BYTE_LEVEL.vocab_size + 3), max_size=60), steps, st.booleans())
def test_any_tokens_arrive_as_decoded_at_once_broken_characters_and_specials_too(
    token_ids: list[int], sizes: list[int], skip: bool
) -> None:
    pieces = run(BYTE_LEVEL.detokenizer(skip_special_tokens=skip), token_ids, sizes)
    assert "".join(pieces) == BYTE_LEVEL.decode(token_ids, skip_special_tokens=skip)


@given(texts, st.lists(st.integers(0, 200), max_size=5))
def test_special_tokens_in_between_neither_show_nor_swallow_a_space(text: str, places: list[int]) -> None:
    token_ids = SENTENCEPIECE.encode(text)
    for place in places:
        token_ids.insert(place % (len(token_ids) + 1), SENTENCEPIECE.eos_token_ids[0])
    assert "".join(run(SENTENCEPIECE.detokenizer(), token_ids, [1])) == SENTENCEPIECE.decode(token_ids)


@given(texts, steps)
def test_a_special_token_that_is_kept_shows_where_others_do_not(text: str, sizes: list[int]) -> None:
    for tokenizer in (BYTE_LEVEL, SENTENCEPIECE):
        kept = tokenizer.eos_token_ids[0]
        others = sorted(tokenizer.special_ids - {kept})
        token_ids = [*others, *tokenizer.encode(text, add_special_tokens=False), kept, *others]
        expected = tokenizer.decode(token_ids) + tokenizer.special_tokens["eos_token"]
        assert "".join(run(tokenizer.detokenizer(kept=frozenset({kept})), token_ids, sizes)) == expected


@given(texts, steps)
def test_no_piece_ends_inside_a_character(text: str, sizes: list[int]) -> None:
    text = text.replace("\ufffd", "")
    for tokenizer in (BYTE_LEVEL, SENTENCEPIECE):
        assert "\ufffd" not in "".join(run(tokenizer.detokenizer(), tokenizer.encode(text), sizes))


@given(texts)
def test_every_token_says_how_much_text_is_complete_after_it(text: str) -> None:
    for tokenizer in (BYTE_LEVEL, SENTENCEPIECE):
        token_ids = tokenizer.encode(text)
        one_by_one, at_once = tokenizer.detokenizer(), tokenizer.detokenizer()
        complete = [0]
        for token in token_ids:
            complete.append(complete[-1] + len(one_by_one.push([token])))
        at_once.push(token_ids)
        assert one_by_one.ends == at_once.ends == complete[1:]


@given(texts.filter(bool), st.data())
def test_a_cut_in_the_text_finds_the_tokens_that_made_it(text: str, data: st.DataObject) -> None:
    token_ids = BYTE_LEVEL.encode(text)
    length = data.draw(st.integers(0, len(text)))
    detokenizer = BYTE_LEVEL.detokenizer()
    detokenizer.push(token_ids)
    count = detokenizer.tokens_until(length)
    assert len("".join(run(BYTE_LEVEL.detokenizer(), token_ids[:count], [1])[:-1])) >= length
    if count:
        assert len("".join(run(BYTE_LEVEL.detokenizer(), token_ids[: count - 1], [1])[:-1])) < length


def test_an_unfinished_character_waits_and_shows_as_a_replacement_at_the_end() -> None:
    for tokenizer in (BYTE_LEVEL, SENTENCEPIECE):
        token_ids = tokenizer.encode("a🦩")
        detokenizer = tokenizer.detokenizer()
        assert detokenizer.push(token_ids[:-1]) == "a"
        rest = detokenizer.flush()
        assert rest
        assert set(rest) == {"\ufffd"}
        assert detokenizer.tokens_until(2) == len(token_ids) - 1
        assert detokenizer.flush() == ""


def test_bytes_that_never_become_a_character_do_not_hold_the_stream_up() -> None:
    for tokenizer, byte in ((BYTE_LEVEL, "Ģ"), (SENTENCEPIECE, "<0x80>")):
        token = tokenizer.token_id(byte)
        assert token is not None
        detokenizer = tokenizer.detokenizer()
        assert detokenizer.push([token] * 8).count("\ufffd") >= 4
        assert detokenizer.push(tokenizer.encode("abc")).endswith("abc")


def test_work_per_token_does_not_grow_with_the_text() -> None:
    """Decoding is asked for a few tokens at a time, however long the text."""
    longest = 0

    def decode(token_ids: list[int]) -> str:
        nonlocal longest
        longest = max(longest, len(token_ids))
        return WORD_PIECES.decode(token_ids)

    detokenizer = WindowDetokenizer(decode, lambda token: False)
    for _ in range(500):
        detokenizer.push(WORD_PIECES.encode("the foxes , adding !"))
    assert longest <= 8
