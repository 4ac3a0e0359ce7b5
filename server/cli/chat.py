"""`tidar chat`: a conversation in the terminal that shows how each token came."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from server.cli import flags

if TYPE_CHECKING:
    from server.talk.remote import Remote


def chat(
    url: Annotated[
        str | None, typer.Option(help="A running server; without one, a server is started for this conversation.")
    ] = None,
    model: flags.ModelFlag = None,
    api_key: Annotated[str | None, typer.Option(help="Key that the server wants.", envvar="TIDAR_API_KEY")] = None,
    complete: Annotated[
        bool | None,
        typer.Option("--complete/--chat", help="Go on from what you type, or talk; by the model if left out."),
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message of a chat.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.", min=1)] = 256,
    temperature: Annotated[float, typer.Option(help="0 is greedy.", min=0)] = 0.6,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling.")] = 0.95,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answers.")] = None,
    decoding: flags.DecodingFlag = "auto",
    draft_length: flags.DraftLength = None,
    predrafts: flags.Predrafts = "auto",
    threads: flags.Threads = None,
) -> None:
    """Chat or complete in the terminal, with accepted drafts in colour and live T/NFE."""
    from server.talk.remote import Remote, RemoteError
    from server.talk.session import Session

    console = Console(highlight=False)
    if url is not None and model is not None:
        raise typer.BadParameter("Give --url or --model, not both.", param_hint="--url")
    if url is None:
        names = ("--decoding", "--draft-length", "--predrafts", "--threads")
        engine = dict(zip(names, (decoding, draft_length, predrafts, threads), strict=True))
        given = [part for name, value in engine.items() if value is not None for part in (name, str(value))]
        serving = _own_server([model] if model else [], given, console)
    else:
        serving = Remote(url, api_key)
    try:
        with serving as remote:
            card = remote.card()
            abilities = card.get("tidar", {"chat": True, "preferred": "chat"})
            sampling = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
            chatting = abilities["preferred"] == "chat" if complete is None else not complete
            how = "a chat" if chatting else "it goes on from what you type"
            console.print(Text.assemble((str(card["id"]), "bold"), f": {how}; /help says more"))
            Session(remote, console, chatting, abilities["chat"], sampling, system).run()
    except RemoteError as error:
        Console(stderr=True).print(Text.assemble(("Cannot chat: ", "bold red"), str(error)), soft_wrap=True)
        raise typer.Exit(1) from None


def _own_server(model: list[str], engine: list[str], console: Console) -> AbstractContextManager[Remote]:
    from server.talk.child import own_server

    console.print("Loading the model; --url talks to a server that runs already.", style="dim")
    return own_server([*model, *engine])
