"""A server that cannot start says why in one sentence and leaves with exit code 1."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.live import ROOT, free_port


def refusal(model: Path, *flags: str) -> str:
    """What `tidar serve` says on its way out."""
    command = [sys.executable, "-m", "server.cli", "serve", str(model), "--port", str(free_port()), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    said = " ".join(done.stderr.split())
    assert said.startswith("Cannot serve: "), said
    assert said.endswith("."), said
    return said


@pytest.fixture
def copy(served_model: Path, tmp_path: Path) -> Path:
    """A model folder to be spoilt."""
    folder = tmp_path / "model"
    shutil.copytree(served_model, folder)
    return folder


def change_config(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "nowhere" in refusal(tmp_path / "nowhere")


def test_a_folder_without_a_tokenizer(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    assert "tokenizer.json" in refusal(copy)


def test_a_tokenizer_that_is_none(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{}")
    assert "tokenizer" in refusal(copy)


def test_weights_that_are_not_there(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert "safetensors" in refusal(copy)


def test_weights_that_end_early(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "model.safetensors" in refusal(copy)


def test_an_architecture_nobody_knows(copy: Path) -> None:
    change_config(copy, architectures=["MambaForCausalLM"])
    assert "MambaForCausalLM" in refusal(copy)


def test_drafting_asked_of_a_model_that_cannot(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    del config["tidar"]
    (copy / "config.json").write_text(json.dumps(config))
    assert "tidar" in refusal(copy, "--decoding", "tidar")


def test_a_context_longer_than_the_models(served_model: Path) -> None:
    assert "256" in refusal(served_model, "--max-model-len", "100000")


def test_a_flag_out_of_range(served_model: Path) -> None:
    assert "--draft-length" in refusal(served_model, "--draft-length", "65")


def test_tls_files_that_are_not_there(served_model: Path) -> None:
    assert "TLS" in refusal(served_model, "--ssl-keyfile", "/nowhere/key", "--ssl-certfile", "/nowhere/cert")


def test_a_unix_socket_in_no_folder(served_model: Path) -> None:
    assert "/nowhere/socket" in refusal(served_model, "--uds", "/nowhere/socket")


def test_a_port_that_is_taken(served_model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "Port" in refusal(served_model, "--port", str(taken.getsockname()[1]))
