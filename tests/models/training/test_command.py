"""`tidar train` from data to a model folder, as typed on a command line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import typer

from models.training.command import main, parse_draft_lengths, parse_shape
from models.training.data import prepare_data
from models.training.dataset import TokenFile
from models.training.settings import ModelShape
from tests.models.training.test_corpus import source
from tests.models.training.tiny import SHIPPED, random_data

LIST = """
standard_library = false
characters_per_package = 1000000
packages = [{ name = "good", version = "1.0", license = "MIT" }]
held_out = [{ name = "out", version = "1.0", license = "MIT" }]
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    downloads = tmp_path / "data" / "downloads"
    downloads.mkdir(parents=True)
    for name in ("good", "out"):
        with zipfile.ZipFile(downloads / f"{name}-1.0-py3-none-any.whl", "w") as archive:
            for i in range(4):
                archive.writestr(f"{name}/{i}.py", source(f"{name} {i}"))
    (tmp_path / "list.toml").write_text(LIST)
    return tmp_path


def test_data_preparation_leaves_token_files_and_a_tokenizer(corpus: Path) -> None:
    stages: list[str] = []
    prepare_data(corpus / "data", 300, data_list=corpus / "list.toml", report=stages.append)
    train, held_out = (TokenFile(corpus / "data" / name).tokens for name in ("train.bin", "held_out.bin"))
    assert (train == 0).sum() == (held_out == 0).sum() == 4  # one end token a document
    assert max(train) < 300
    assert [stage.split()[0] for stage in stages] == [
        "fetching",
        "training",
        "tokenising",
        "held_out.bin:",
        "train.bin:",
    ]


def test_a_second_preparation_keeps_what_is_there(corpus: Path) -> None:
    prepare_data(corpus / "data", 300, data_list=corpus / "list.toml")
    before = (corpus / "data" / "tokenizer.json").read_bytes()
    stages: list[str] = []
    prepare_data(corpus / "data", 300, data_list=corpus / "list.toml", report=stages.append)
    assert (corpus / "data" / "tokenizer.json").read_bytes() == before
    assert not any(stage.startswith(("fetching", "training")) for stage in stages)


def test_a_model_may_lend_its_tokenizer(corpus: Path) -> None:
    prepare_data(corpus / "data", 1024, SHIPPED, corpus / "list.toml")
    assert (corpus / "data" / "tokenizer.json").read_bytes() == (SHIPPED / "tokenizer.json").read_bytes()


def test_run_evaluate_and_export_follow_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, output = random_data(tmp_path / "data"), tmp_path / "run"
    size = ["--tokens", "64", "--batch-tokens", "64", "--length", "32", "--device", "cpu", "--dtype", "float32"]
    size += ["--shape", "hidden_size=32,num_layers=1,context_length=64"]
    assert main(["run", str(data), str(output), "--objective", "tidar", "--target", "both", *size]) == 0
    checkpoint = str(output / "checkpoint.pt")
    capsys.readouterr()
    assert main(["evaluate", str(data), checkpoint, "--draft-lengths", "2,4", "--windows", "1"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["tokens"] == 64 and set(measured["draft_lengths"]) == {"2", "4"}
    assert main(["export", str(data), checkpoint, str(tmp_path / "model")]) == 0
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 20_000_000


def test_a_run_without_an_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path), str(tmp_path / "run")]) == 2
    assert "--minutes or --tokens" in capsys.readouterr().err


def test_missing_data_is_one_sentence_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path), str(tmp_path / "run"), "--tokens", "1"]) == 1
    assert "run `tidar train data` first" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["4:x", "1:1", "", "4:0", "2:-1,4:1"])
def test_draft_lengths_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_draft_lengths(text)


@pytest.mark.parametrize("text", ["layers=2", "num_layers", "num_layers=0", "num_layers=x"])
def test_a_shape_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="there are vocab_size, hidden_size"):
        parse_shape(text)


def test_a_shape_names_only_what_differs_from_the_shipped_model() -> None:
    assert parse_shape("") == ModelShape()
    assert parse_shape("num_layers=2,hidden_size=64") == ModelShape(num_layers=2, hidden_size=64)


def test_draft_lengths_come_with_weights_or_without() -> None:
    assert parse_draft_lengths("2:0.2,4:0.5,8") == {2: 0.2, 4: 0.5, 8: 1.0}
