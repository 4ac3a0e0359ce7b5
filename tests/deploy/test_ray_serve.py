"""The Ray Serve application on a local Ray: it grows with the load, says what one server says, survives a death."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.clients.installing import NotInstallableError, python_with
from tests.server.live import ROOT, LiveServer, free_port

pytestmark = pytest.mark.slow

#: half a gigabyte with what it needs, so it has an environment of its own
PINS = ("ray[serve]==2.60.0",)
PROGRAM = Path(__file__).parent / "programs" / "ray_cases.py"
#: generous, for starting Ray, its proxy and two replicas is all processes that import much
SECONDS = 600
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_DEDUP_LOGS": "0"}


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> Path:
    """Ray's Python, which finds everything else where the tests' own Python does."""
    cache = request.config.cache
    assert cache is not None
    try:
        found = python_with(PINS, cache.mkdir("deploy"))
    except NotInstallableError as error:
        pytest.skip(str(error))
    [packages] = (found.parents[1] / "lib").glob("python*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return found


@pytest.fixture(scope="module")
def seen(python: Path, served_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    # engines are told apart by their model's folder, and other tests serve the original
    model = shutil.copytree(served_model, tmp_path_factory.mktemp("ray") / "model")
    # Ray's Unix sockets need a short path
    folder = tempfile.mkdtemp(prefix="ray-")
    try:
        done = subprocess.run(
            [str(python), str(PROGRAM), str(model), str(free_port()), folder],
            env={**os.environ, **SETTINGS, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_second_replica_comes_with_the_load(seen: dict[str, Any]) -> None:
    assert seen["replicas_at_first"] == seen["engines_at_first"] == 1
    assert seen["scaled"]


def test_two_replicas_say_what_one_server_says(seen: dict[str, Any], server: LiveServer) -> None:
    for index, said in enumerate(seen["token_ids"]):
        body = {"prompt": [5 + index] * (index + 3), "max_tokens": 24, "ignore_eos": True, "temperature": 100.0}
        alone = server.complete(**body, seed=index, return_token_ids=True)["choices"][0]["token_ids"]
        assert said == alone


def test_streams_and_readiness_pass_through_the_proxy(seen: dict[str, Any]) -> None:
    """More than one token to a chunk: steps, and not the proxy, make the chunks."""
    assert seen["ready"] == 200
    *chunks, last = seen["stream"]
    assert last == "data: [DONE]"
    counts = [len(json.loads(chunk.removeprefix("data: "))["choices"][0]["token_ids"]) for chunk in chunks]
    assert sum(counts) == 24 and 2 < len(counts) < 24


def test_a_dead_engine_costs_only_its_own_requests_and_comes_back(seen: dict[str, Any]) -> None:
    assert "" in seen["after_a_death"]
    assert seen["engines_came_back"]


def test_nothing_is_left_behind(seen: dict[str, Any]) -> None:
    assert not seen["engines_left"]
