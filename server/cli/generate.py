"""`tidar generate`: one prompt, in this process, with the figures that matter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from server.cli import flags
from server.cli.model import adapter_path, lora_path, model_path

if TYPE_CHECKING:
    from engine import LLM
    from engine.messages import Output, Submit


def generate(
    prompt: Annotated[str, typer.Argument(help="Text to be continued.")],
    model: flags.ModelFlag = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens to generate.", min=1)] = 128,
    temperature: Annotated[float, typer.Option(help="0 is greedy.", min=0)] = 0.0,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="0 is off.")] = 0,
    seed: flags.Seed = 0,
    decoding: flags.DecodingFlag = "auto",
    adapter: flags.Adapter = None,
    draft_length: flags.DraftLength = None,
    predrafts: flags.Predrafts = "auto",
    max_model_len: flags.MaxModelLen = None,
    dtype: flags.Dtype = "auto",
    lora: flags.Lora = None,
    quantization: flags.QuantizationFlag = flags.QuantizationName.NONE,
    device: flags.Device = "auto",
    threads: flags.Threads = None,
) -> None:
    """Complete one prompt and show tokens per second and tokens per forward."""
    from engine import LLM, SamplingParams
    from engine.errors import EngineError, RequestError
    from engine.messages import Submit
    from models.errors import ModelError

    console = Console(stderr=True)
    try:
        llm = LLM(
            model_path(model, "generate"),
            adapter=adapter_path(model, adapter),
            decoding=decoding,
            draft_length=draft_length,
            predrafts=predrafts,
            max_model_len=max_model_len,
            max_num_seqs=1,
            dtype=dtype,
            lora=lora_path(lora, "generate"),
            quantization=quantization.value,
            device=device,
            threads=threads,
        )
        params = SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k, seed=seed, max_tokens=max_tokens)
        submit = Submit(request_id="generate", prompt_token_ids=llm.tokenizer.encode(prompt), params=params)
        began = time.perf_counter()
        token_ids, last = _run(llm, submit, max_tokens, console)
    except (EngineError, ModelError, RequestError) as error:
        console.print(f"[bold red]Cannot generate:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    typer.echo(prompt + llm.tokenizer.decode(token_ids))
    console.print(_summary(len(token_ids), time.perf_counter() - began, last), style="dim", highlight=False)


def _run(llm: LLM, submit: Submit, max_tokens: int, console: Console) -> tuple[list[int], Output]:
    """All tokens and the last output. Raises EngineError where the engine fails on the request."""
    from engine.errors import EngineError

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} tokens"),
        TimeElapsedColumn(),
    )
    token_ids: list[int] = []
    llm.engine.submit(submit)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Generating", total=max_tokens)
        while True:
            for output in llm.engine.step():
                token_ids += output.token_ids
                bar.update(task, completed=len(token_ids))
                if output.error is not None:
                    raise EngineError(output.error)
                if output.finish_reason is not None:
                    return token_ids, output


def _summary(tokens: int, seconds: float, last: Output) -> str:
    line = f"{tokens} tokens in {seconds:.2f} s: {tokens / seconds:.0f} tokens/s"
    if last.steps is not None and last.steps.forwards:
        line += f", {last.steps.committed / last.steps.forwards:.2f} tokens per forward (T/NFE)"
    return f"{line}; ended by {last.finish_reason}."
