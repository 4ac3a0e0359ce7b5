"""`tidar bench latency` and `tidar bench throughput`."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.measure import Measurement, measure
from bench.peers import transformers_rate
from bench.prompt_file import load_prompts
from bench.report import print_table, write_json
from bench.settings import standard_settings
from engine import LLM, SamplingParams
from models.sources import short_name


@dataclass(frozen=True)
class BenchOptions:
    """What to run. Lengths in tokens; prompts are cut to leave room for answers.

    With a `range_ratio`, answers' lengths are drawn from `max_tokens` times 1 - ratio to 1 + ratio, so that requests
    that began together do not end together, as a server's do not.
    """

    model: str
    draft_length: int = 4
    concurrency: tuple[int, ...] = (1,)
    num_prompts: int = 16
    max_tokens: int = 128
    range_ratio: float = 0.0
    temperature: float = 0.0
    top_p: float = 1.0
    repetitions: int = 3
    prompts: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    peers: tuple[str, ...] = ()
    json: str | None = None
    threads: int | None = field(default=None)
    forced_acceptance: float | None = None


def run_benchmark(options: BenchOptions, console: Console | None = None) -> list[Measurement]:
    """Measure every setting at every concurrency in one run; prints the table and writes the JSON file if asked."""
    _check(options)
    console = console or Console(stderr=True)
    engines = _engines(options)
    prompts = _prompts(options, next(iter(engines.values())))
    params = _params(options)
    measurements: list[Measurement] = []
    with console.status("") as status:
        for concurrency in options.concurrency:
            measurements += measure(
                engines, prompts, params, concurrency, options.repetitions, status.update, options.forced_acceptance
            )
        peer = _peers(options, prompts) if options.peers else {}
    noun = "greedy" if options.temperature == 0 else f"T={options.temperature:g}, top-p {options.top_p:g}"
    lengths = answer_lengths(options)
    tokens = f"{lengths[0]}" if not options.range_ratio else f"{min(lengths)}–{max(lengths)}"
    title = f"{options.num_prompts} prompts × {tokens} tokens, {noun}, median of {options.repetitions}"
    if options.forced_acceptance is not None:
        title += f", drafts forced to acceptance {options.forced_acceptance:g}"
    print_table(title, measurements, peer)
    if options.json:
        write_json(Path(options.json), published(options), measurements, peer)
    return measurements


def _check(options: BenchOptions) -> None:
    unknown = set(options.peers) - {"transformers"}
    if unknown:
        raise ValueError(f"--peer {unknown.pop()!r} is not known; transformers is.")
    if options.peers and options.range_ratio:
        raise ValueError("--peer generates answers of one length; leave --range-ratio out.")


def published(options: BenchOptions) -> dict[str, Any]:
    """The options as a report holds them: of paths on this machine the last part alone."""
    files = {"prompts": options.prompts, "json": options.json}
    names = {name: path if path is None else Path(path).name for name, path in files.items()}
    return {**asdict(options), **names, "model": short_name(options.model)}


def _engines(options: BenchOptions) -> dict[str, LLM]:
    common = {
        "max_num_seqs": max(options.concurrency),
        "dtype": options.dtype,
        "device": options.device,
        "threads": options.threads,
        "enable_prefix_caching": False,
        # forced drafts are put in from outside between two steps
        "async_scheduling": None if options.forced_acceptance is None else False,
    }
    return {setting.name: setting.load(options.model, common) for setting in standard_settings(options.draft_length)}


def _prompts(options: BenchOptions, llm: LLM) -> list[list[int]]:
    texts = load_prompts(Path(options.prompts) if options.prompts else None, options.num_prompts)
    longest = llm.engine.ready().max_model_len - max(answer_lengths(options))
    return [llm.tokenizer.encode(text)[:longest] for text in texts]


def answer_lengths(options: BenchOptions) -> list[int]:
    """Every answer's length, the same in every setting and run."""
    drawn, ratio = random.Random(0), options.range_ratio
    return [max(1, round(options.max_tokens * drawn.uniform(1 - ratio, 1 + ratio))) for _ in range(options.num_prompts)]


def _params(options: BenchOptions) -> list[SamplingParams]:
    return [
        SamplingParams(
            temperature=options.temperature,
            top_p=options.top_p,
            seed=i,
            max_tokens=length,
            ignore_eos=True,
        )
        for i, length in enumerate(answer_lengths(options))
    ]


def _peers(options: BenchOptions, prompts: list[list[int]]) -> dict[str, float]:
    rate = transformers_rate(Path(options.model), prompts, options.max_tokens, options.repetitions, options.threads)
    return {"transformers generate": rate}
