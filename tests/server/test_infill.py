"""Completions with a suffix: the model is asked for what stands between, as its family was trained to read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.tokenizer import Tokenizer
from server.errors import ApiError
from server.infill import FORMATS, InfillFormat, infill_prompt
from tests.server.live import LiveServer
from tests.server.tiny_model import save_tiny_model

QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
PREFIX, SUFFIX = "def add(a, b):\n", "\n    return total\n"


@pytest.fixture(scope="module")
def infilling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(save_tiny_model(tmp_path_factory.mktemp("infill") / "coder", QWEN)) as live:
        yield live


def ids(live: LiveServer, text: str) -> list[int]:
    tokens: list[int] = live.post("/tokenize", {"prompt": text, "add_special_tokens": False}).json()["tokens"]
    return tokens


def test_the_model_reads_prompt_and_suffix_between_its_marks(infilling: LiveServer) -> None:
    answer = infilling.complete(prompt=PREFIX, suffix=SUFFIX, max_tokens=4, return_token_ids=True)
    expected = ids(infilling, QWEN[0] + PREFIX + QWEN[1] + SUFFIX + QWEN[2])
    assert answer["choices"][0]["prompt_token_ids"] == expected
    assert answer["usage"]["prompt_tokens"] == len(expected)


def test_token_ids_and_several_prompts_are_filled_too(infilling: LiveServer) -> None:
    tokens = ids(infilling, PREFIX)
    both = infilling.complete(prompt=[tokens, tokens], suffix=SUFFIX, temperature=0, return_token_ids=True)
    one = infilling.complete(prompt=PREFIX, suffix=SUFFIX, temperature=0, return_token_ids=True)
    assert [choice["token_ids"] for choice in both["choices"]] == [one["choices"][0]["token_ids"]] * 2


def test_an_empty_suffix_is_a_plain_completion(infilling: LiveServer) -> None:
    answer = infilling.complete(prompt=PREFIX, suffix="", max_tokens=1, return_token_ids=True)
    assert answer["choices"][0]["prompt_token_ids"] == ids(infilling, PREFIX)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.prefix)
def test_every_familys_marks_are_used_in_its_order(form: InfillFormat, tmp_path: Path) -> None:
    marks = [mark for mark in (form.prefix, form.suffix, form.middle) if mark]
    tokenizer = Tokenizer.from_folder(save_tiny_model(tmp_path, marks))
    prefix, suffix, *middle = [1024 + i for i in range(len(marks))]
    prompt = infill_prompt([10, 11], [12], [0], tokenizer)
    swapped = [0, suffix, 12, prefix, 10, 11]
    assert prompt == (swapped if not middle else [0, prefix, 10, 11, suffix, 12, *middle])


def test_a_vocabulary_without_marks_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ApiError, match="fill in the middle"):
        infill_prompt([10], [11], [], tokenizer)
