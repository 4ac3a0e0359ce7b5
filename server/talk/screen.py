"""An answer on the terminal: whole lines stay, the line being written and the figures below it are drawn anew."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from server.talk.figures import Figures

#: by where a token came from; the AR row's own words beside drafts stand out, an answer without drafts is plain
STYLES = {"draft": "green", "correction": "bold yellow", "bonus": "blue", "ar": "", "denoised": "magenta"}
THOUGHT = "dim italic "
#: what a model may not send to a terminal: everything that moves the cursor or speaks to the terminal itself
CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")


def legend() -> Text:
    """One line that says what the colours mean."""
    return Text.assemble(
        ("accepted draft", STYLES["draft"]),
        "  ",
        ("correction", STYLES["correction"]),
        "  ",
        ("bonus", STYLES["bonus"]),
        "  plain",
    )


class Screen:
    """One answer; use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._line = Text()
        self.figures = Figures()
        self.text = ""
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.update(Text(""), refresh=True)
        self._live.stop()
        if self._line:
            self._console.print(self._line, soft_wrap=True)
        self._console.print(Text(self.figures.line(), style="dim"))

    def prompt(self, text: str) -> None:
        """What the answer goes on from."""
        self._write(text, "dim")

    def add(self, choice: dict[str, Any]) -> None:
        """One chunk's choice. Text that is not its tokens' own is written without colours."""
        delta = choice.get("delta", {})
        shown, thought = choice.get("text") or delta.get("content") or "", delta.get("reasoning") or ""
        steps = choice.get("tidar", {}).get("steps", [])
        tokens = [token for step in steps for token in step["tokens"]]
        for field, whole, prefix in (("reasoning", thought, THOUGHT), ("text", shown, "")):
            said = "".join(token.get(field, "") for token in tokens)
            if whole.startswith(said):
                for token in tokens:
                    self._write(token.get(field, ""), prefix + STYLES[token["source"]])
                self._write(whole.removeprefix(said), prefix)
            else:
                self._write(whole, prefix)
        self.text += shown
        self.figures.add(steps)
        self._live.update(Group(self._line, Text(self.figures.line(), style="dim")), refresh=True)

    def _write(self, text: str, style: str) -> None:
        first, *others = text.translate(CONTROLS).split("\n")
        self._line.append(first, style)
        for line in others:
            self._console.print(self._line, soft_wrap=True)
            self._line = Text().append(line, style)
