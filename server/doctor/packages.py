"""Python and the packages: what the project asks for, and the versions it was tested with."""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from server.doctor.base import Finding, Plan, fail, ok, warn

DISTRIBUTION = "tidar-serve"
ROOT = Path(__file__).resolve().parents[2]
PYTHON = (3, 11)


def check_packages(plan: Plan) -> list[Finding]:
    """Python, then one line for what is missing or too old, and one for what differs from the tested versions."""
    return [_python(), _required(requirements()), *_tested(ROOT / "constraints.txt")]


def requirements() -> list[Requirement]:
    """What has to be installed to serve: the source tree's own word, else the installed package's."""
    file = ROOT / "pyproject.toml"
    if file.is_file():
        lines: list[str] = tomllib.loads(file.read_text())["project"]["dependencies"]
    else:
        lines = metadata.requires(DISTRIBUTION) or []
    wanted = [Requirement(line) for line in lines]
    return [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]


def version_of(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON:
        return fail("python", found, f"Use Python {PYTHON[0]}.{PYTHON[1]} or later.")
    return ok("python", found)


def _required(wanted: list[Requirement]) -> Finding:
    wrong = []
    for requirement in wanted:
        version = version_of(requirement.name)
        if version is None:
            wrong.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        return fail("packages", ", ".join(wrong), f"Run pip install -U {DISTRIBUTION}, or `make serve` in a clone.")
    return ok("packages", f"{len(wanted)} of {len(wanted)} required ones are there")


def _tested(constraints: Path) -> list[Finding]:
    """Empty where there is no list of tested versions beside the code."""
    if not constraints.is_file():
        return []
    pinned = dict(
        line.split("==", 1) for line in constraints.read_text().splitlines() if "==" in line and line[0] != "#"
    )
    names = sorted(requirement.name for requirement in requirements() if requirement.name in pinned)
    versions = {name: (version_of(name) or "").partition("+")[0] for name in names}
    other = [
        f"{name} {versions[name]} for {pinned[name]}" for name in names if versions[name] not in ("", pinned[name])
    ]
    if other:
        advice = "Run pip install -c constraints.txt -e . for the versions that the tests ran with."
        return [warn("versions", ", ".join(other), advice)]
    return [ok("versions", "as in constraints.txt")]
