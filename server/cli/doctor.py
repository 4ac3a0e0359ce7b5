"""`tidar doctor`: will it serve here, and if not, what to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from server.cli import flags

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    model: flags.Model = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    max_num_seqs: flags.MaxNumSeqs = 64,
    max_waiting: flags.MaxWaiting = 1024,
    threads: flags.Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of findings instead.")] = False,
) -> None:
    """Check device, driver, packages, memory, folders and port; exit code 1 where `tidar serve` would fail."""
    from server.doctor.base import Level, Plan
    from server.doctor.examine import examine

    plan = Plan(model, host, port, device, dtype, max_num_seqs, max_waiting, threads)
    console = Console(highlight=False)
    findings = []
    for finding in examine(plan):
        findings.append(finding)
        if not as_json:
            level = (f"{finding.level:<5}", STYLES[finding.level])
            console.print(Text.assemble(level, (f"{finding.name}: ", "bold"), finding.found), soft_wrap=True)
            if finding.advice:
                console.print(Text(f"      {finding.advice}"), soft_wrap=True)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    raise typer.Exit(int(any(finding.level is Level.FAIL for finding in findings)))
