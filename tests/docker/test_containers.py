"""What can be known of the containers without building them; `make prove-image` builds and runs one."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server.live import LiveServer, free_port

ROOT = Path(__file__).parents[2]
#: the image's own scripts; `docker` is no package of ours
ready = runpy.run_path(str(ROOT / "docker" / "healthy.py"))["ready"]
requirements = runpy.run_path(str(ROOT / "docker" / "requirements.py"))["requirements"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_file_keeps_to_the_schema_of_compose() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, ROOT / "docker-compose.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_is_one_that_can_be_broken(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text((ROOT / "docker-compose.yml").read_text().replace("restart: unless-stopped", "restarts: always"))
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", broken]
    assert subprocess.run(check, capture_output=True).returncode != 0


def test_every_service_has_limits_a_restart_policy_and_a_pinned_image(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["restart"] == "unless-stopped", name
        assert "memory" in service["deploy"]["resources"]["limits"], name
        assert service["cap_drop"] == ["ALL"], name
        tag = service["image"].partition(":")[2]
        assert tag and tag != "latest", name


def test_the_gpu_is_reserved_and_the_cpu_server_is_not_started_unasked(compose: dict[str, Any]) -> None:
    devices = compose["services"]["server"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert compose["services"]["server-cpu"]["profiles"] == ["cpu"]
    assert not [name for name in ("server", "prometheus", "grafana") if "profiles" in compose["services"][name]]


def test_every_file_that_a_service_mounts_is_here(compose: dict[str, Any]) -> None:
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", [])]
    paths = [mount.partition(":")[0] for mount in mounts if mount.startswith("./")]
    assert paths and all((ROOT / path).exists() for path in paths)


def test_keys_come_from_files_that_are_never_committed_or_sent_to_the_builder(compose: dict[str, Any]) -> None:
    secrets = [secret["file"].removeprefix("./") for secret in compose["secrets"].values()]
    for ignore in (".gitignore", ".dockerignore"):
        assert set(secrets) <= set((ROOT / ignore).read_text().splitlines())


def test_requests_may_end_before_the_container_is_killed(compose: dict[str, Any]) -> None:
    from server.settings import ServerSettings

    grace = int(compose["services"]["server"]["stop_grace_period"].removesuffix("s"))
    assert grace > ServerSettings(model_names=("any",)).shutdown_timeout


def test_the_proof_of_the_image_expects_the_weights_that_ship() -> None:
    shipped = runpy.run_path(str(ROOT / "docker" / "prove.py"))["SHIPPED"]
    assert shipped == sorted(path.parent.name for path in (ROOT / "models" / "shipped").rglob("*.safetensors"))


def test_the_images_dependencies_are_the_projects() -> None:
    plain = requirements(ROOT / "pyproject.toml", [])
    assert any(line.startswith("torch") for line in plain)
    more = requirements(ROOT / "pyproject.toml", ["gpu"])
    assert [line.partition(">")[0] for line in more[len(plain) :]] == ["triton"]


@pytest.mark.parametrize(
    ("given", "run"),
    [
        ([], "serve --host 0.0.0.0 --port 8000"),
        (["--max-num-seqs", "8"], "serve --host 0.0.0.0 --port 8000 --max-num-seqs 8"),
        (["/models/mine", "--seed", "1"], "serve --host 0.0.0.0 --port 8000 /models/mine --seed 1"),
        (["serve", "/models/a b"], "serve --host 0.0.0.0 --port 8000 /models/a b"),
        (["tidar", "doctor", "name"], "doctor name"),
    ],
)
def test_the_entry_point_serves_unless_told_otherwise(tmp_path: Path, given: list[str], run: str) -> None:
    (tmp_path / "tidar").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "tidar").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [ROOT / "docker" / "entrypoint.sh", *given]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == run


def test_the_health_check_needs_no_key_and_the_key_may_come_from_a_file(served_model: Path, tmp_path: Path) -> None:
    key = tmp_path / "api_key"
    key.write_text("of-a-file\n")
    with LiveServer(served_model, env={"TIDAR_API_KEY_FILE": str(key)}) as live:
        assert ready(live.port)
        assert live.get("/metrics").status_code == 401
        assert live.get("/metrics", headers={"Authorization": "Bearer of-a-file"}).status_code == 200
    assert not ready(free_port())
