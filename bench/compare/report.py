"""The comparison as a table, as JSON and as a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.compare.run import CompareOptions, Result
from bench.report import machine


def print_results(results: list[Result], options: CompareOptions) -> None:
    """One row per pair; speed-up and agreement are over the first."""
    noun = "greedy" if options.temperature == 0 else f"T={options.temperature:g}"
    title = (
        f"{options.num_prompts} prompts × {options.max_tokens} tokens, {noun}, {options.concurrency} at once, "
        f"median of {options.repetitions}"
    )
    table = Table(title=title, title_justify="left")
    tasks = list(results[0].scores)
    headings = ["decoding", "tokens/s", "min–max", "× first", "forwards", "T/NFE", "answers equal", "tokens agree"]
    for heading in headings + tasks:
        table.add_column(heading, justify="left" if heading == "decoding" else "right", no_wrap=True)
    for result in results:
        m, agreement = result.measured, result.agreement
        table.add_row(
            result.pair.name,
            f"{m.rate:.0f}",
            f"{min(m.rates):.0f}–{max(m.rates):.0f}",
            f"{m.rate / results[0].measured.rate:.2f}",
            str(m.forwards // len(m.rates)),
            f"{m.tokens_per_forward:.2f}",
            "–" if agreement is None else f"{agreement.equal}/{agreement.answers}",
            "–" if agreement is None else f"{100 * agreement.common_prefix:.1f} %",
            *(f"{solved}/{count}" for solved, count in result.scores.values()),
        )
    Console(width=None if Console().is_terminal else 150).print(table)


def write_json(path: Path, results: list[Result], options: CompareOptions) -> None:
    """Everything the table shows and every repetition behind it, with the machine and the versions."""
    document = {"machine": machine(), "model": Path(options.model).name, "results": [_as_dict(r) for r in results]}
    path.write_text(json.dumps(document, indent=2) + "\n")


def _as_dict(result: Result) -> dict[str, Any]:
    m, agreement = result.measured, result.agreement
    return {
        "name": result.pair.name,
        "decoding": result.pair.decoding,
        "settings": result.pair.fields,
        "concurrency": m.concurrency,
        "tokens_per_second": m.rate,
        "tokens_per_second_each": m.rates,
        "forwards": m.forwards // len(m.rates),
        "tokens_per_forward": m.tokens_per_forward,
        "answers_equal_to_first": None if agreement is None else agreement.equal,
        "answers": len(m.outputs),
        "tokens_before_first_difference": None if agreement is None else agreement.common_prefix,
        "solved": {name: {"solved": solved, "of": count} for name, (solved, count) in result.scores.items()},
    }


def plot(results: list[Result], path: Path) -> None:
    """Tokens/s against the share of the first pair's tokens that came out. Needs matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise ValueError("--plot needs matplotlib; install it with: pip install 'tidar-serve[bench]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [result for result in results if result.agreement is not None]
    figure, axis = pyplot.subplots(figsize=(7, 4))
    for result in shown:
        assert result.agreement is not None
        x, y = 100 * result.agreement.common_prefix, result.measured.rate
        axis.plot([x], [y], marker="o", color="C3" if x >= 100 else "0.4")
        axis.annotate(result.pair.name, (x, y), textcoords="offset points", xytext=(-6, 5), ha="right", fontsize=8)
    axis.set(xlabel=f"tokens before the first difference from {results[0].pair.name}, %", ylabel="tokens/s")
    axis.set_ylim(bottom=0)
    axis.set_xlim(0, 104)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
