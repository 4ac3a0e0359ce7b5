"""What a check is given and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

Check = Callable[["Plan"], list["Finding"]]


class Level(StrEnum):
    """ok: nothing to do. warn: it serves, but not as well as it could. fail: `tidar serve` would not come up."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Plan:
    """What is to be served, and how: the flags of `tidar serve` that checks depend on."""

    model: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    device: str = "auto"
    dtype: str = "auto"
    max_num_seqs: int = 64
    max_waiting: int = 1024
    threads: int | None = None


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and one sentence that says what to do where it is not well."""

    name: str
    level: Level
    found: str
    advice: str = ""


def ok(name: str, found: str) -> Finding:
    return Finding(name, Level.OK, found)


def warn(name: str, found: str, advice: str) -> Finding:
    return Finding(name, Level.WARN, found, advice)


def fail(name: str, found: str, advice: str) -> Finding:
    return Finding(name, Level.FAIL, found, advice)


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
