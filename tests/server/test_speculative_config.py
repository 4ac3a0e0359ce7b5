"""`--speculative-config`."""

from __future__ import annotations

import pytest
from engine.drafters.settings import SpeculativeConfig

from engine.errors import EngineError


def test_the_keys_are_vllms() -> None:
    config = SpeculativeConfig.parse('{"method": "eagle3", "model": "head", "num_speculative_tokens": 3}')
    assert config == SpeculativeConfig("eagle3", "head", 3)
    assert SpeculativeConfig.parse('{"method": "ngram", "prompt_lookup_max": 5}').prompt_lookup_max == 5


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
        '{"method": "ngram", "prompt_lookup_min": 5, "prompt_lookup_max": 4}',
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(EngineError):
        SpeculativeConfig.parse(text)
