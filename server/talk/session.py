"""The conversation: what is typed goes out, what comes back is shown, until the end of input."""

from __future__ import annotations

import importlib
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from server.talk.remote import Remote, RemoteError
from server.talk.screen import Screen, legend

#: marked as taking no room, so that the line editor counts right
BOLD, PLAIN = "\001\033[1m\002", "\001\033[0m\002"
HELP = """\
/chat      talk to the model by its chat template
/complete  let it go on from what you type
/new       forget the conversation
/exit      leave; so does Ctrl-D
A line that ends with \\ goes on in the next one. Ctrl-C stops an answer."""


@dataclass
class Session:
    """One person and one model. `sampling` are fields of the request."""

    remote: Remote
    console: Console
    chatting: bool
    can_chat: bool
    sampling: dict[str, Any]
    system: str | None = None
    messages: list[dict[str, str]] = field(default_factory=list)

    def run(self) -> None:
        """Read and answer until /exit or the end of input."""
        with suppress(ImportError):
            importlib.import_module("readline")  # gives input() its line editor and history
        self.console.print(legend())
        while (text := self._read()) is not None:
            if text.startswith("/"):
                if text.strip() == "/exit":
                    return
                self._obey(text.strip())
            elif text.strip():
                self.answer(text)

    def answer(self, text: str) -> None:
        """Send one message or prompt and show what comes; Ctrl-C ends it, a failure is shown and ends it too."""
        path, asked = self._request(text)
        body = {**self.sampling, **asked, "stream_options": {"include_steps": True}}
        screen = Screen(self.console)
        failure = None
        with screen:
            if not self.chatting:
                screen.prompt(text)
            try:
                with closing(self.remote.stream(path, body)) as chunks:
                    for chunk in chunks:
                        for choice in chunk["choices"]:
                            screen.add(choice)
            except RemoteError as error:
                failure = error
            except KeyboardInterrupt:
                pass
        if failure is not None:
            self.console.print(Text.assemble(("No answer: ", "bold red"), str(failure)))
        elif self.chatting:
            said = [{"role": "user", "content": text}, {"role": "assistant", "content": screen.text}]
            self.messages += said

    def _request(self, text: str) -> tuple[str, dict[str, Any]]:
        if not self.chatting:
            return "/v1/completions", {"prompt": text}
        system = [{"role": "system", "content": self.system}] if self.system else []
        return "/v1/chat/completions", {"messages": [*system, *self.messages, {"role": "user", "content": text}]}

    def _read(self) -> str | None:
        """What was typed, lines joined; None at the end of input. Ctrl-C forgets the line."""
        lines: list[str] = []
        while True:
            mark = "  ... " if lines else ("you> " if self.chatting else "code> ")
            try:
                line = input(f"{BOLD}{mark}{PLAIN}" if self.console.is_terminal else "")
            except EOFError:
                return None
            except KeyboardInterrupt:
                self.console.print()
                lines.clear()
                continue
            if not line.endswith("\\"):
                return "\n".join([*lines, line])
            lines.append(line[:-1])

    def _obey(self, command: str) -> None:
        if command == "/new":
            self.messages.clear()
        elif command == "/complete" or (command == "/chat" and self.can_chat):
            self.chatting = command == "/chat"
        elif command == "/chat":
            self.console.print("This model has no chat template; it goes on from what you type.")
        else:
            self.console.print(HELP, highlight=False, markup=False)
