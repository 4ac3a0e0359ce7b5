"""Whatever is asked of the sampler, drafting changes no token: the server's answers equal plain AR decoding's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import LLM, SamplingParams
from models.tokenizer import Tokenizer
from server.bad_words import bad_word_tokens
from tests.server.live import LiveServer

PROMPT = list(range(20, 40))

ASKED: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "sampled": {"temperature": 0.8, "top_p": 0.95},
    "lively": {"temperature": 100.0},
    "top_k": {"temperature": 100.0, "top_k": 5},
    "min_p": {"temperature": 100.0, "min_p": 0.9},
    "repetition": {"temperature": 100.0, "repetition_penalty": 1.5},
    "presence and frequency": {"temperature": 2.0, "presence_penalty": 2.0, "frequency_penalty": 1.5, "top_k": 4},
    "logit_bias": {"temperature": 1.0, "logit_bias": {60: 100.0, 61: 100.0, 62: 99.5}},
    "allowed tokens": {"temperature": 100.0, "allowed_token_ids": [60, 61, 62, 63]},
    "stop token": {"temperature": 100.0, "allowed_token_ids": [60, 61, 62, 63], "stop_token_ids": [63]},
    "min tokens": {"temperature": 100.0, "allowed_token_ids": [0, 61], "min_tokens": 7, "ignore_eos": False},
    "logprobs": {"temperature": 100.0, "logprobs": 2},
}


@pytest.fixture(scope="module")
def plain(served_model: Path) -> LLM:
    """The same weights, one token at a time."""
    return LLM(served_model, decoding="ar", dtype="float64", threads=1)


@pytest.mark.parametrize("asked", ASKED)
def test_the_answer_equals_plain_decoding_token_for_token(server: LiveServer, plain: LLM, asked: str) -> None:
    fields = {"max_tokens": 24, "seed": 11, "ignore_eos": True, **ASKED[asked]}
    expected = plain.generate([PROMPT], SamplingParams(**fields))[0]
    given = server.complete(prompt=PROMPT, **fields, return_token_ids=True)["choices"][0]
    assert given["token_ids"] == expected.token_ids
    assert given["finish_reason"] == expected.finish_reason
    if expected.logprobs is not None:
        assert given["logprobs"]["token_logprobs"] == pytest.approx([entry.logprob for entry in expected.logprobs])


def test_every_choice_equals_plain_decoding_with_its_own_seed(server: LiveServer, plain: LLM) -> None:
    fields = {"max_tokens": 16, "temperature": 100.0, "ignore_eos": True}
    seeds = [SamplingParams(**fields, seed=30 + sample) for sample in range(3)]
    expected = [completion.token_ids for completion in plain.generate([PROMPT] * 3, seeds)]
    choices = server.complete(prompt=PROMPT, **fields, seed=30, n=3, return_token_ids=True)["choices"]
    assert [choice["token_ids"] for choice in choices] == expected


async def test_bad_words_are_kept_out_and_the_rest_equals_plain_decoding(
    server: LiveServer, plain: LLM, tokenizer: Tokenizer
) -> None:
    letters = [tokenizer.encode(letter)[0] for letter in "!?@$"]
    fields = {"max_tokens": 40, "seed": 11, "ignore_eos": True, "temperature": 100.0, "allowed_token_ids": letters}
    words = ["!?", "@!", "$$", "@?@"]
    assert [tokenizer.encode(word) for word in words[:2]] == [letters[:2], [letters[2], letters[0]]]
    free = server.complete(prompt=PROMPT, **fields)["choices"][0]["text"]
    assert any(word in free for word in words)
    given = server.complete(prompt=PROMPT, **fields, bad_words=words, return_token_ids=True)["choices"][0]
    assert not any(word in given["text"] for word in words)
    bad_words = await bad_word_tokens(words, tokenizer)
    expected = plain.generate([PROMPT], SamplingParams(**fields, bad_words=bad_words))[0]
    assert given["token_ids"] == expected.token_ids
