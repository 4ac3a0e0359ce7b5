"""What a user may type for a model, and what the answer is where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.catalogue import CATALOGUE, cache_folder, pulled_file
from models.errors import ModelError
from models.sources import resolve, short_name

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an empty cache, and an empty folder to stand in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TIDAR_HOME", str(tmp_path / "cache"))


def refusal(given: str) -> str:
    with pytest.raises(ModelError) as caught:
        resolve(given)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_a_folder_and_a_file_are_themselves(tmp_path: Path) -> None:
    file = tmp_path / "some.gguf"
    file.write_bytes(b"")
    assert resolve(str(tmp_path)) == tmp_path
    assert resolve(str(file)) == file


def test_a_pulled_model_is_found_by_name_and_a_folder_of_that_name_comes_first() -> None:
    assert "tidar pull smollm2" in refusal("smollm2")
    file = pulled_file("smollm2")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert resolve("smollm2") == file
    Path("smollm2").mkdir()
    assert resolve("smollm2") == Path("smollm2")


@pytest.mark.parametrize("given", ["nowhere", "./no/where", "/no/where", "a/b/c", "../x", "a\x1bb"])
def test_what_is_nothing_is_told_what_could_be(given: str) -> None:
    message = refusal(given)
    assert "There is no model folder" in message
    assert all(name in message for name in CATALOGUE)


def test_a_missing_file_is_called_a_file() -> None:
    assert refusal("missing.gguf") == "There is no GGUF file missing.gguf."


@pytest.mark.parametrize("given", ["owner/name", "owner/name/file.Q4_0.gguf"])
def test_hub_ids_are_looked_up_in_the_hubs_cache_alone_when_offline(given: str, tmp_path: Path) -> None:
    code = f"from models.sources import resolve; print(resolve({given!r}))"
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert f"{given} is neither on this machine nor in the hub's cache, and HF_HUB_OFFLINE" in done.stderr

    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    (snapshot / "file.Q4_0.gguf").write_bytes(b"")
    (snapshot / "config.json").write_text("{}")
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    expected = snapshot / "file.Q4_0.gguf" if given.endswith("gguf") else snapshot
    assert Path(done.stdout.strip()) == expected, done.stderr


def test_a_name_that_is_no_hub_id_is_refused() -> None:
    assert "neither here nor an id on the hub" in refusal("owner/na--me")


def test_clients_call_a_model_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"")
    assert short_name(str(tmp_path / "tiny.gguf")) == "tiny"
    assert short_name(f"{tmp_path}/.") == tmp_path.name
    assert short_name("owner/name") == "owner/name"
    assert short_name("smollm2") == "smollm2"


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("TIDAR_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "tidar"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "tidar"
