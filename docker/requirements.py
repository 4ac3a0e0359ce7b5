"""Prints the project's dependencies and those of the extras named, one per line, for pip install -r."""

import sys
import tomllib
from pathlib import Path


def requirements(project: Path, extras: list[str]) -> list[str]:
    """What pyproject.toml asks for. Raises KeyError for an extra it does not have."""
    table = tomllib.loads(project.read_text())["project"]
    return [*table["dependencies"], *(line for extra in extras for line in table["optional-dependencies"][extra])]


if __name__ == "__main__":
    print("\n".join(requirements(Path("pyproject.toml"), sys.argv[1:])))
