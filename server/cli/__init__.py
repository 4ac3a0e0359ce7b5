"""The `tidar` command."""

from __future__ import annotations

import typer

from server.cli import answers, bench, chat, doctor, generate, inspect, pull, serve, train

app = typer.Typer(
    name="tidar",
    help="Serve language models that draft in diffusion and talk in autoregression.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("chat")(chat.chat)
app.command("doctor")(doctor.doctor)
app.command("generate")(generate.generate)
app.command("inspect")(inspect.inspect)
app.command("pull")(pull.pull)
app.command("answers")(answers.answers)
app.add_typer(bench.app, name="bench")
train.add_to(app)
