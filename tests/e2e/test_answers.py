"""`tidar answers`, as it is typed, and which adapter a model's name means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.tokenizer import Tokenizer
from models.training.adapter.answers import read_answers
from server.cli import app
from server.cli.answers import choose
from server.cli.model import adapter_path
from server.shipped import shipped_adapter

QUESTIONS = ["hello", "what now", "and then", "say more", "stop"]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"question": question}) + "\n" for question in QUESTIONS))
    return path


def answer(questions: Path, output: Path, model: Path, *flags: str) -> str:
    usual = ["--model", str(model), "--threads", "1", "--max-tokens", "6", "--max-model-len", "128"]
    done = CliRunner().invoke(app, ["answers", str(questions), str(output), *usual, *flags])
    return f"{done.exit_code}: {done.output}"


def test_it_writes_what_training_reads_and_goes_on_where_it_stopped(
    questions: Path, served_model: Path, tmp_path: Path
) -> None:
    whole, halves = tmp_path / "whole.jsonl", tmp_path / "halves.jsonl"
    assert answer(questions, whole, served_model).startswith("0")
    tokenizer = Tokenizer.from_folder(served_model)
    lines = [json.loads(line) for line in whole.read_text().splitlines()]
    assert all(question in tokenizer.decode(line["prompt"]) for line, question in zip(lines, QUESTIONS, strict=True))
    assert all(1 <= len(line["answer"]) <= 6 for line in lines)
    assert len(read_answers(whole, tokenizer.vocab_size, 128)) == sum(len(line["answer"]) > 1 for line in lines)

    assert answer(questions, halves, served_model, "--limit", "2", "--batch", "1").startswith("0")
    assert answer(questions, halves, served_model, "--batch", "1").startswith("0")
    assert halves.read_text() == whole.read_text()


def test_questions_kept_out_are_never_answered() -> None:
    texts = [str(i) for i in range(10)]
    assert choose(texts, 4, None, None) == texts[:6]
    assert choose(texts, 0, 4, None) == texts[6:]
    assert set(choose(texts, 4, None, 0)).isdisjoint(choose(texts, 0, 4, 1))


def test_a_file_of_something_else_is_refused(served_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"text": "hello"}\n')
    assert answer(path, tmp_path / "out", served_model).startswith("1: Cannot answer:")


def test_a_name_means_its_shipped_adapter_unless_another_is_named() -> None:
    shipped = shipped_adapter("smollm2")
    assert shipped is not None
    assert (shipped / "adapter.json").is_file()
    assert adapter_path("smollm2", None) == str(shipped)
    assert adapter_path("smollm2", "none") is None
    assert adapter_path("smollm2", "mine") == "mine"
    assert adapter_path("some/folder", None) is None
    assert adapter_path(None, None) is None
    assert adapter_path("smollm2", None, plain=True) is None and adapter_path("smollm2", "mine", plain=True) == "mine"
