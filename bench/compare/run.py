"""`tidar bench compare`: every pair on the same prompts in turn, then the tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.compare.agreement import Agreement
from bench.compare.pairs import Pair
from bench.compare.tasks.base import Task, cut
from bench.measure import Measurement, run_once
from bench.prompt_file import load_prompts
from engine import LLM, SamplingParams


@dataclass(frozen=True)
class CompareOptions:
    """What to run; lengths in tokens. `model` is the folder of every pair that names none."""

    model: str
    pairs: tuple[Pair, ...]
    num_prompts: int = 16
    max_tokens: int = 128
    temperature: float = 0.0
    concurrency: int = 1
    repetitions: int = 3
    prompts: str | None = None
    task_problems: int = 32
    task_max_tokens: int = 256
    engine: dict[str, Any] = field(default_factory=dict)


@dataclass
class Result:
    """One pair's figures. `agreement` is None where another model's tokens are not comparable with the first pair's."""

    pair: Pair
    measured: Measurement
    agreement: Agreement | None
    scores: dict[str, tuple[int, int]] = field(default_factory=dict)


def compare(options: CompareOptions, tasks: list[Task], console: Console) -> list[Result]:
    """Measure all pairs in one run, in turn and several times (A B C, A B C, …), then score each on every task."""
    if not options.pairs:
        raise ValueError("Nothing to compare; give at least one --with.")
    engines = {pair.name: _load(options, pair) for pair in options.pairs}
    if len(engines) < len(options.pairs):
        raise ValueError("Two --with have the same name; give each its own with NAME=.")
    results = _measure(options, engines, console)
    for task in tasks:
        problems = task.problems(options.task_problems)
        for result in results:
            with console.status(f"{task.name}: {result.pair.name}"):
                answers = _answers(engines[result.pair.name], [p.prompt for p in problems], options.task_max_tokens)
                solved = sum(task.solves(p, cut(a, p.stop)) for p, a in zip(problems, answers, strict=True))
            result.scores[task.name] = solved, len(problems)
    return results


def _load(options: CompareOptions, pair: Pair) -> LLM:
    common = {"max_num_seqs": max(options.concurrency, 1), "enable_prefix_caching": False, **options.engine}
    return LLM(pair.model or options.model, **{**common, "decoding": pair.decoding, **pair.fields})


def _measure(options: CompareOptions, engines: dict[str, LLM], console: Console) -> list[Result]:
    texts = load_prompts(Path(options.prompts) if options.prompts else None, options.num_prompts)
    params = [
        SamplingParams(temperature=options.temperature, seed=i, max_tokens=options.max_tokens, ignore_eos=True)
        for i in range(options.num_prompts)
    ]
    prompts = {name: _fitting(llm, texts, options.max_tokens) for name, llm in engines.items()}
    measured = {name: Measurement(name, options.concurrency) for name in engines}
    for round_number in range(options.repetitions + 1):
        for name, llm in engines.items():
            with console.status(f"{name}, round {round_number} of {options.repetitions}"):
                if round_number:
                    run_once(llm, prompts[name], params, measured[name])
                else:
                    warm_up = [prompt[::-1] for prompt in prompts[name][: options.concurrency]]
                    run_once(llm, warm_up, params[: len(warm_up)], Measurement(name, options.concurrency))
    first = options.pairs[0]
    reference = measured[first.name].outputs
    return [
        Result(
            pair,
            measured[pair.name],
            Agreement.between(measured[pair.name].outputs, reference) if pair.model == first.model else None,
        )
        for pair in options.pairs
    ]


def _fitting(llm: LLM, texts: list[str], max_tokens: int) -> list[list[int]]:
    longest = llm.engine.ready().max_model_len - max_tokens
    return [llm.tokenizer.encode(text)[:longest] for text in texts]


def _answers(llm: LLM, prompts: list[str], max_tokens: int) -> list[str]:
    """Greedy completions; a prompt too long for the context has an empty one."""
    tokens = [llm.tokenizer.encode(prompt) for prompt in prompts]
    longest = llm.engine.ready().max_model_len - max_tokens
    fitting = [i for i, prompt in enumerate(tokens) if len(prompt) <= longest]
    answers = [""] * len(prompts)
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens)
    for i, completion in zip(fitting, llm.generate([tokens[i] for i in fitting], params), strict=True):
        answers[i] = completion.text
    return answers
