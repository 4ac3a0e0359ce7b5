"""From the command line's words to a comparison and its reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from bench.compare.pairs import Pair
from bench.compare.report import plot, print_results, write_json
from bench.compare.run import CompareOptions, Result, compare
from bench.compare.tasks.base import Task
from bench.compare.tasks.gsm8k import Gsm8k
from bench.compare.tasks.humaneval import HumanEval
from models.catalogue import cache_folder


def run_compare(
    model: str,
    pairs: list[str],
    tasks: list[str],
    engine: dict[str, Any],
    json: str | None,
    figure: str | None,
    **options: Any,
) -> list[Result]:
    """Compare and report. `options` are CompareOptions'. Raises ValueError, one sentence, where a word is wrong."""
    chosen = CompareOptions(model=model, pairs=tuple(map(Pair.parse, pairs)), engine=engine, **options)
    results = compare(chosen, [make_task(word) for word in tasks], Console(stderr=True))
    print_results(results, chosen)
    if json:
        write_json(Path(json), results, chosen)
    if figure:
        plot(results, Path(figure))
    return results


def make_task(word: str) -> Task:
    """`humaneval`, or `gsm8k=FILE`."""
    name, _, path = word.partition("=")
    if name == "humaneval" and not path:
        return HumanEval(cache_folder() / "tasks")
    if name == "gsm8k" and path:
        return Gsm8k(Path(path))
    raise ValueError(f"--task {word!r} is not known; use humaneval or gsm8k=FILE.")
