"""A real pretrained model, pulled, read and served: SmolLM2-135M-Instruct in 4 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.messages import Submit
from models.checkpoint import load_decoder, save_decoder
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from tests.e2e.plain_llama import PlainLlama
from tests.e2e.smollm2 import Answer, recorded, smollm2
from tests.engine.drive import acceptance, make_engine, request, run
from tests.engine.test_forced_drafts import forcing, mixed
from tests.engine.test_shipped_model import NEAR_TIE, gap_at_divergence
from tests.models.checkpoints import logits
from tests.server.live import LiveServer

__all__ = ["smollm2"]

#: as its published tokenizer cuts them
TOKENS = {
    "The capital of France is": [504, 3575, 282, 4649, 314],
    "Hello world! 123": [19556, 905, 17, 216, 33, 34, 35],
    "  multiple   spaces": [216, 2701, 256, 5600],
    "Café déjà vu.": [51, 1939, 2756, 32564, 90, 16739, 386, 101, 30],
}


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Tokenizer:
    return Tokenizer.from_folder(smollm2)


@pytest.fixture(scope="module")
def questions(tokenizer: Tokenizer) -> list[Submit]:
    made = []
    for index, answer in enumerate(recorded()):
        text = tokenizer.apply_chat_template([{"role": "user", "content": answer.prompt}])
        made.append(request(str(index), tokenizer.encode(text, add_special_tokens=False), max_tokens=32))
    return made


@pytest.mark.slow
def test_its_tokenizer_cuts_as_the_published_one(tokenizer: Tokenizer) -> None:
    for text, ids in TOKENS.items():
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids) == text
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}])
    assert prompt.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert prompt.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.slow
def test_its_logits_are_those_of_a_second_reader(smollm2: Path, tokenizer: Tokenizer) -> None:
    second, decoder = PlainLlama(smollm2), load_decoder(smollm2, torch.float32)
    for text, following in (
        ("The capital of France is", " Paris"),
        ("def fib(n):\n    return n if n < 2 else", " n"),
    ):
        ids = tokenizer.encode(text)
        got = logits(decoder, torch.tensor(ids)).numpy()
        assert np.abs(got - second.logits(ids)).max() < 1e-3
        assert tokenizer.decode([int(got[-1].argmax())]) == following


def check(smollm2: Path, questions: list[Submit], said: dict[str, list[int]]) -> int:
    """Every answer is the recorded one, or leaves it at a near tie; returns how many do."""
    left = 0
    decoder = None
    for question, answer in zip(questions, recorded(), strict=True):
        got = said[question.request_id]
        if got == answer.token_ids:
            continue
        decoder = decoder or load_decoder(smollm2, torch.float32)
        gap = gap_at_divergence(decoder, question, answer.token_ids, got)
        assert gap < NEAR_TIE, f"{answer.prompt}: {gap:.1e}"
        left += 1
    return left


@pytest.mark.slow
def test_its_recorded_answers_come_again(smollm2: Path, questions: list[Submit], tokenizer: Tokenizer) -> None:
    engine = make_engine(smollm2, dtype="float32", decoding="ar", max_model_len=256)
    done = run(engine, questions)
    assert check(smollm2, questions, {key: answer.token_ids for key, answer in done.items()}) <= 2
    for answer in recorded():
        assert tokenizer.decode(answer.token_ids) == answer.text


@pytest.mark.slow
def test_its_recorded_answers_come_from_drafts_too(smollm2: Path, questions: list[Submit], tmp_path: Path) -> None:
    """The same weights as a folder that drafts: its own drafts mean nothing, and so are forced to be right or wrong."""
    tidar = {"mask_token_id": 0, "draft_length": 4}
    save_decoder(load_decoder(smollm2, torch.float32), tmp_path / "drafts", torch.float32, {"tidar": tidar})
    assert ModelConfig.from_folder(tmp_path / "drafts").draft is not None
    engine = make_engine(tmp_path / "drafts", dtype="float32", decoding="tidar", predrafts="1", max_model_len=256)
    known = {question.request_id: _Known(answer) for question, answer in zip(questions, recorded(), strict=True)}
    done = run(engine, questions, forcing(known, 4, mixed))  # type: ignore[arg-type]
    assert check(smollm2, questions, {key: answer.token_ids for key, answer in done.items()}) <= 2
    assert acceptance(engine) > 1.3


class _Known:
    """What `forcing` reads of an answer that is known beforehand."""

    def __init__(self, answer: Answer) -> None:
        self.token_ids = answer.token_ids


@pytest.mark.slow
def test_it_chats(smollm2: Path) -> None:
    with LiveServer(smollm2, "--max-model-len", "512", "--dtype", "float32") as live:
        question = [{"role": "user", "content": recorded()[0].prompt}]
        answer = live.chat(model=smollm2.stem, messages=question, temperature=0, max_tokens=32)
    assert answer["choices"][0]["message"]["content"] == recorded()[0].text
    assert "Paris" in recorded()[0].text
