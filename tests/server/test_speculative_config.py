"""`--speculative-config`, and the flags that it stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from server.cli.speculative import speculative_settings


def settings(text: str) -> dict[str, object]:
    return speculative_settings(text, None, "auto", None)


def test_vllms_words_become_the_engines(tmp_path: Path) -> None:
    text = f'{{"method": "eagle3", "model": "{tmp_path}", "num_speculative_tokens": 3}}'
    eagle = settings(text)
    assert (eagle["decoding"], eagle["draft_length"], eagle["draft_model"]) == ("eagle3", 4, str(tmp_path))
    ngram = settings('{"method": "ngram", "prompt_lookup_max": 5}')
    assert (ngram["decoding"], ngram["draft_length"], ngram["prompt_lookup_max"]) == ("ngram", 5, 5)


def test_our_own_flags_say_the_same(tmp_path: Path) -> None:
    given = speculative_settings(None, str(tmp_path), "draft-model", 4)
    assert given == {"decoding": "draft-model", "draft_length": 4, "draft_model": str(tmp_path)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ngram",
        "[]",
        "{}",
        '{"method": "medusa"}',
        '{"method": "ngram", "colour": 1}',
        '{"method": "ngram", "model": "x"}',
        '{"method": "eagle3"}',
        '{"method": "draft_model"}',
        '{"method": "ngram", "num_speculative_tokens": 0}',
        '{"method": "ngram", "num_speculative_tokens": 64}',
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        settings(text)


def test_both_ways_at_once_are_refused() -> None:
    with pytest.raises(typer.BadParameter, match="says it all"):
        speculative_settings('{"method": "ngram"}', None, "tidar", None)
