"""`tidar inspect`: what a checkpoint was recognised as, and the memory that it needs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from server.cli import flags
from server.cli.model import model_path

if TYPE_CHECKING:
    from engine.footprint import Footprint
    from models.inspection import Inspection

#: what each scheme is called for people
SCHEMES = {
    "tidar": "TiDAR, one forward drafts and verifies",
    "linear": "linear self-speculation, a forward drafts and the next one verifies",
    "sdlm": "SDLM, shifted drafts behind a copy of the last token",
    "idlm": "I-DLM, a strictly causal stride",
    "block": "block diffusion, blocks are denoised one after the other",
    "prompt-block": "block diffusion, whose prompt is seen in both directions",
    "denoise": "denoising, every token sees the whole text",
}


def inspect(
    model: flags.Model = None,
    dtype: flags.Dtype = "auto",
    max_model_len: flags.MaxModelLen = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print what a model was recognised as and the memory it needs; reads headers, no weights."""
    from engine.config import EngineConfig
    from engine.errors import EngineError
    from engine.footprint import footprint
    from engine.rank import serving_dtype
    from engine.setup import context_length
    from models.errors import ModelError
    from models.inspection import inspect_checkpoint

    path = model_path(model, "inspect")
    try:
        found = inspect_checkpoint(path)
        settings = EngineConfig(model=str(path), dtype=dtype, max_model_len=max_model_len, device="cpu")
        length, runs_as = context_length(settings, found.config), serving_dtype(settings, found.config)
        needs = footprint(settings, found.config, found.parameters, runs_as)
    except (EngineError, ModelError) as error:
        Console(stderr=True).print(f"[bold red]Cannot inspect:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    report = _report(found, needs, length, str(runs_as).removeprefix("torch."))
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        Console(highlight=False).print(_table(report))


def _report(found: Inspection, needs: Footprint, context: int, dtype: str) -> dict[str, Any]:
    config, draft = found.config, found.config.draft
    return {
        "model": str(found.path),
        "family": found.family,
        "architecture": config.architecture,
        "scheme": draft.scheme if draft else None,
        "shift": draft.shift if draft else None,
        "mask_token_id": draft.mask_token_id if draft else None,
        "draft_length": draft.draft_length if draft else None,
        "eos_token_ids": list(config.eos_token_ids),
        "parameters": found.parameters,
        "tensors": found.tensors,
        "dtype": config.dtype,
        "file_bytes": found.file_bytes,
        "vocab_size": config.vocab_size,
        "layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "heads": config.num_heads,
        "kv_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_model_len": context,
        "adapters": list(found.adapters),
        "memory": {
            "dtype": dtype,
            "kv_bytes_per_token": needs.kv_per_token,
            "weights": needs.weights,
            "rotary_tables": needs.tables,
            "one_full_context": needs.context,
            "default_pool": needs.pool,
            "total": needs.total,
            "served_context": needs.served_context,
        },
    }


def _table(report: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in _lines(report, report["memory"]):
        table.add_row(name, value)
    return table


def _lines(report: dict[str, Any], memory: dict[str, Any]) -> list[tuple[str, str]]:
    heads = f"{report['heads']} heads over {report['kv_heads']} of K/V, {report['head_dim']} wide"
    lines = [
        ("model", report["model"]),
        ("family", f"{report['family']} ({report['architecture']})"),
        *_drafting(report),
        ("end tokens", ", ".join(map(str, report["eos_token_ids"])) or "none named"),
        ("parameters", f"{report['parameters']:,} in {report['tensors']} tensors"),
        ("file", f"{report['dtype']}, {_size(report['file_bytes'])} on disk"),
        ("shape", f"{report['layers']} layers, width {report['hidden_size']}, {heads}"),
        ("vocabulary", f"{report['vocab_size']:,} tokens"),
        ("context", f"{report['max_model_len']:,} tokens"),
        *([("adapters", ", ".join(report["adapters"]))] if report["adapters"] else []),
        ("K/V", f"{memory['kv_bytes_per_token']:,} bytes per token as {memory['dtype']}"),
        ("memory", f"on a CPU as {memory['dtype']}, with the settings that serve has by default:"),
    ]
    parts = {
        "weights": memory["weights"],
        "rotary tables": memory["rotary_tables"],
        "one full context": memory["one_full_context"],
        "default pool": memory["default_pool"],
        "in all": memory["total"],
    }
    lines += [("", f"{_size(size):>10}  {name}") for name, size in parts.items()]
    if memory["served_context"] < report["max_model_len"]:
        lines.append(
            (
                "",
                f"The default pool holds {memory['served_context']:,} tokens of a context; for all of it, serve with "
                f"--kv-cache-memory-bytes {memory['one_full_context']} or more.",
            )
        )
    return lines


def _drafting(report: dict[str, Any]) -> list[tuple[str, str]]:
    if report["scheme"] is None:
        return [("scheme", "none: plain AR")]
    predicts = "its own position" if report["shift"] == 0 else "the next position"
    return [
        ("scheme", f"{report['scheme']}: {SCHEMES[report['scheme']]}"),
        ("mask token", f"{report['mask_token_id']}, which predicts {predicts}"),
        ("draft length", f"k = {report['draft_length']}"),
    ]


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
