"""`tidar answers`: what a model says to a file of questions, as data that an adapter learns from."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from server.cli import flags
from server.cli.model import model_path

if TYPE_CHECKING:
    from engine import LLM


def answers(
    questions: Annotated[Path, typer.Argument(help="JSON lines, one question each.")],
    output: Annotated[Path, typer.Argument(help="Where answers go; a file that has some is gone on with.")],
    model: flags.ModelFlag = None,
    field: Annotated[str, typer.Option(help="Key of the question in its line.")] = "question",
    leave_out: Annotated[int, typer.Option(help="Leave out so many questions at the end of the file.", min=0)] = 0,
    last: Annotated[int | None, typer.Option(help="Take the last so many questions only.", min=1)] = None,
    limit: Annotated[int | None, typer.Option(help="Answer so many of them.", min=1)] = None,
    shuffle: Annotated[int | None, typer.Option(help="Seed of the order; the file's own if left out.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.", min=2)] = 160,
    batch: Annotated[int, typer.Option(help="Questions answered at once.", min=1)] = 64,
    max_model_len: flags.MaxModelLen = 1024,
    dtype: flags.Dtype = "auto",
    device: flags.Device = "auto",
    threads: flags.Threads = None,
) -> None:
    """Answer questions greedily in the model's chat format and write token ids, a line per answer."""
    from engine import LLM
    from engine.errors import EngineError, RequestError
    from models.errors import ModelError

    console = Console(stderr=True)
    try:
        chosen = choose(_read(questions, field), leave_out, last, shuffle)[:limit]
        done = len(output.read_text().splitlines()) if output.exists() else 0
        llm = LLM(
            model_path(model, "answer"),
            decoding="ar",
            max_num_seqs=batch,
            max_model_len=max_model_len,
            dtype=dtype,
            device=device,
            threads=threads,
        )
        with output.open("a") as out:
            for first in track(range(done, len(chosen), batch), "Answering", console=console):
                out.writelines(_answer(llm, chosen[first : first + batch], max_tokens))
                out.flush()
    except (EngineError, ModelError, RequestError) as error:
        console.print(f"[bold red]Cannot answer:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def choose(questions: list[str], leave_out: int, last: int | None, shuffle: int | None) -> list[str]:
    """The questions that the flags ask for, in the order in which they are answered."""
    chosen = questions[: len(questions) - leave_out]
    if last is not None:
        chosen = chosen[-last:]
    if shuffle is not None:
        random.Random(shuffle).shuffle(chosen)
    return chosen


def _answer(llm: LLM, questions: list[str], max_tokens: int) -> list[str]:
    from engine import SamplingParams

    tokenizer = llm.tokenizer
    texts = [tokenizer.apply_chat_template([{"role": "user", "content": question}]) for question in questions]
    prompts = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    completions = llm.generate(list(prompts), SamplingParams(temperature=0.0, max_tokens=max_tokens))
    pairs = zip(prompts, completions, strict=True)
    return [json.dumps({"prompt": prompt, "answer": done.token_ids}) + "\n" for prompt, done in pairs]


def _read(path: Path, field: str) -> list[str]:
    """Raises ModelError where a line is no object with text under `field`."""
    from models.errors import ModelError

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        questions = [json.loads(line)[field] for line in lines]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path} does not hold JSON objects with {field!r} ({error}).") from None
    if not all(isinstance(question, str) for question in questions):
        raise ModelError(f"{path} has a line whose {field!r} is no text.")
    return questions
