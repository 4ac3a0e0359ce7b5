"""Builds an image target from the Dockerfile without a container engine, runs it, and checks what it promises.

`make prove-image`, as root on Debian with buildah and debootstrap installed. buildah executes every step in a chroot. A
bare Debian with its own Python stands in for the base image, which takes a registry to fetch; everything behind FROM is
the Dockerfile's. pip is configured in there as it is out here.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BASE, PROOF = "localhost/tidar-base", "localhost/tidar-proof"
PACKAGES = ("python3", "python3-venv", "python3-dev", "ca-certificates")
START_SECONDS = 180
#: folders of the repository's models/shipped that hold weights
SHIPPED = ["smollm2-tidar-adapter", "tidar-python-5m"]
UNWANTED = ("cc", "gcc", "g++", "make", "cmake", "pip", "pip3", "git")
KEY = "a-key-of-the-proof"


class Builder:
    """buildah with its storage in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.command = ["buildah", "--root", str(folder / "storage"), "--runroot", str(folder / "run")]

    def run(self, *arguments: str) -> str:
        """What a buildah command prints. Raises CalledProcessError where it fails."""
        return subprocess.run([*self.command, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def base(self) -> None:
        """Debian with Python where the official image has it; made once per folder."""
        if BASE in self.run("images", "--format", "{{.Name}}"):
            return
        tree = self._folder / "debian"
        if not tree.exists():
            subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(tree)], check=True)
        install = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
        subprocess.run(["chroot", str(tree), *install], check=True, stdout=subprocess.DEVNULL)
        (tree / "usr/local/bin/python").unlink(missing_ok=True)
        (tree / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        container = self.run("from", "scratch")
        self.run("add", container, str(tree), "/")
        self.run("commit", "--rm", container, BASE)

    def image(self, target: str) -> None:
        """Every step of the Dockerfile up to this target."""
        options = [
            "--isolation",
            "chroot",
            "--format",
            "docker",
            "--layers",
            "--pull-never",
            *pip_mounts(self._folder, target == "cpu"),
        ]
        arguments = ["--build-arg", f"PYTHON_IMAGE={BASE}", "--build-arg", f"REVISION={revision()}"]
        command = [*self.command, "bud", *options, *arguments, "--target", target, "-t", f"{PROOF}:{target}", str(ROOT)]
        subprocess.run(command, check=True)


def pip_mounts(folder: Path, wheels: bool) -> list[str]:
    """Options that let pip find in the chroot what it finds out here: its settings, certificates and folders.

    Folders of wheels, which may hold a CPU build of torch, are left out unless `wheels`.
    """
    said = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, stdout=subprocess.PIPE, text=True
    )
    settings: dict[str, str] = {}
    for line in said.stdout.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"")
    if not wheels:
        settings.pop("find-links", None)
    if not settings:
        return []
    config = folder / "pip.conf"
    config.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    words = " ".join(settings.values()).replace("file://", "").split()
    paths = {str(Path(word)) for word in words if word.startswith("/") and Path(word).exists()}
    parents = {str(Path(path).parent) if Path(path).name == "simple" else path for path in paths}
    mounts = [f"{path}:{path}:ro" for path in sorted(parents)] + [f"{config}:/etc/pip.conf:ro"]
    return [part for mount in mounts for part in ("-v", mount)]


def revision() -> str:
    said = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], check=False, stdout=subprocess.PIPE, text=True)
    return said.stdout.strip() or "unknown"


def check(holds: bool, promise: str) -> None:
    """Print a promise that holds; end with one that does not."""
    print(f"{'ok ' if holds else 'NOT'} {promise}", flush=True)
    if not holds:
        raise SystemExit(1)


def check_config(config: dict[str, Any]) -> None:
    labels = config["Labels"]
    check(config["User"] == "10001:10001", "runs as uid 10001")
    check("healthy.py" in " ".join(config["Healthcheck"]["Test"]), "has a health check")
    check("/models" in config["Volumes"], "keeps models on a volume")
    check(all(f"org.opencontainers.image.{name}" in labels for name in ("title", "licenses", "version")), "is labelled")
    check(config["Entrypoint"] == ["/opt/docker/entrypoint.sh"], "starts with its entry point")


def check_tree(tree: Path) -> None:
    folders = [tree / folder for folder in ("usr/bin", "usr/local/bin", "bin", "opt/tidar/bin")]
    found = [str(folder / name) for folder in folders for name in UNWANTED if (folder / name).exists()]
    check(not found, f"has no build tools {found or ''}")
    caches = [path for path in ("root/.cache", "home/tidar/.cache", "src") if (tree / path).exists()]
    check(not caches, f"has no caches and no build folder {caches or ''}")
    weights = sorted(path.parent.name for path in (tree / "opt/tidar").rglob("*.safetensors"))
    check(weights == SHIPPED, f"holds the shipped weights and no others {weights}")


def check_server(builder: Builder, container: str, tree: Path, folder: Path) -> None:
    """Start it as its entry point would be, ask it, and stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    secret = folder / "api_key"
    secret.write_text(KEY + "\n")
    environment = ["--env", f"TIDAR_PORT={port}", "--env", "TIDAR_API_KEY_FILE=/run/secrets/api_key"]
    options = ["run", "--isolation", "chroot", *environment, "-v", f"{secret}:/run/secrets/api_key:ro", container, "--"]
    server = subprocess.Popen([*builder.command, *options, "/opt/docker/entrypoint.sh"])
    try:
        healthy = [*builder.command, *options, "python", "/opt/docker/healthy.py"]
        check(wait_until_healthy(healthy, server), "becomes healthy by its own check")
        process = serving_process(port)
        owner = Path(f"/proc/{process}").stat().st_uid
        check(owner == 10001, f"serves as uid {owner}")
        check(status_of(port, "/v1/models") == 401, "wants the key from its secret file")
        check_completion(port)
        check(not compiled_kernels(tree) or runs_kernels(), "computes with the C kernels it brought")
        subprocess.run(["kill", "-TERM", str(process)], check=True)
        check(server.wait(60) == 0, "leaves with 0 on SIGTERM")
    finally:
        server.kill()
        server.wait()
    check(not (tree / "run/secrets/api_key").read_bytes().strip(), "keeps no key")


def wait_until_healthy(command: list[str], server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return True
        time.sleep(1)
    return False


def serving_process(port: int) -> int:
    """The process that listens on this port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inode = next(row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()) == f"socket:[{inode}]" and "tidar" in (link.parents[1] / "cmdline").read_text():
                return int(link.parts[2])
        except OSError:
            continue
    raise LookupError(f"nobody listens on port {port}")


def compiled_kernels(tree: Path) -> list[Path]:
    return list((tree / "opt/tidar").glob("lib/*/site-packages/models/native/prebuilt/*.so"))


def runs_kernels() -> bool:
    """Whether a process has such a library in its memory."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            if "models/native/prebuilt/" in maps.read_text():
                return True
        except OSError:
            continue
    return False


def status_of(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def check_completion(port: int) -> None:
    body = json.dumps({"prompt": "def add(a, b):\n", "max_tokens": 16, "temperature": 0}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        said = json.loads(answer.read())
    check(said["usage"]["completion_tokens"] > 0, f"completes: {said['choices'][0]['text']!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--folder", type=Path, help="keep Debian and the layers here for the next time")
    parser.add_argument("--build-only", action="store_true", help="do not start the server")
    given = parser.parse_args()
    folder = (given.folder or Path(tempfile.mkdtemp(prefix="tidar-proof-"))).absolute()
    folder.mkdir(exist_ok=True)
    builder = Builder(folder)
    try:
        builder.base()
        builder.image(given.target)
        container = builder.run("from", "--pull-never", f"{PROOF}:{given.target}")
        tree = Path(builder.run("mount", container))
        check_config(json.loads(builder.run("inspect", container))["Docker"]["config"])
        check_tree(tree)
        if not given.build_only:
            check_server(builder, container, tree, folder)
        builder.run("rm", container)
    finally:
        if given.folder is None:
            subprocess.run([*builder.command, "rm", "--all"], check=False, stdout=subprocess.DEVNULL)
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
