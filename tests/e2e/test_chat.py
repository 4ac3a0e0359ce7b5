"""`tidar chat` as it is typed, on a terminal and in a pipe."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from server.talk.screen import Screen
from tests.e2e.terminal import Terminal
from tests.server.live import ROOT, LiveServer, free_port
from tests.server.tiny_model import save_tiny_model

GREEN, YELLOW, BLUE = "\x1b[32m", "\x1b[1;33m", "\x1b[34m"
HOT = ("--temperature", "100", "--top-p", "1", "--seed", "7", "--max-tokens", "40")


def piped(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.cli", "chat", *arguments]
    return subprocess.run(command, cwd=ROOT, input=typed, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def long_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    model = save_tiny_model(tmp_path_factory.mktemp("long") / "tiny-tidar", context=16384)
    with LiveServer(model, "--decoding", "tidar", "--predrafts", "full") as live:
        yield live


def choice(*tokens: tuple[str, str], text: str | None = None) -> dict[str, Any]:
    """A chunk's choice of one step."""
    said = [{"text": piece, "source": source} for piece, source in tokens]
    step = {"committed": len(said), "accepted": 1, "drafted": 3, "decode": True, "tokens": said}
    whole = "".join(piece for piece, _ in tokens) if text is None else text
    return {"text": whole, "tidar": {"steps": [step]}}


def shown(*choices: dict[str, Any], terminal: bool = True) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, color_system="standard" if terminal else None)
    with Screen(console) as screen:
        for each in choices:
            screen.add(each)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_models_text_cannot_steer_the_terminal() -> None:
    said = shown(choice(("\x1b]0;owned\x07", "draft"), ("\x1b[2J\x9b2J\r", "ar"), ("[red]x", "bonus")))
    assert "\x1b]0" not in said
    assert "\x1b[2J\x9b" not in said
    assert "\ufffd]0;owned\ufffd" in said
    assert "[red]x" in said


def test_where_a_token_came_from_is_its_colour() -> None:
    said = shown(choice(("guessed", "draft"), ("mended", "correction"), ("next", "bonus"), ("plain", "ar")))
    for piece in (f"{GREEN}guessed\x1b[0m", f"{YELLOW}mended\x1b[0m", f"{BLUE}next\x1b[0m", "\x1b[0mplain"):
        assert piece in said


def test_a_colour_ends_with_its_token_across_lines() -> None:
    said = shown(choice(("one\n  two", "correction"), ("three", "draft"), ("\nfour", "ar")))
    assert f"{YELLOW}  two\x1b[0m{GREEN}three\x1b[0m\n" in said
    assert f"{GREEN}four" not in said


def test_text_that_is_not_its_tokens_own_is_shown_all_the_same() -> None:
    assert "quite another" in shown(choice(("one", "draft"), text="quite another"), terminal=False)
    assert shown({"text": "no steps\n"}, terminal=False).startswith("no steps\n")


def test_drafts_are_coloured_and_the_figures_live(server: LiveServer) -> None:
    with Terminal("chat", "--url", server.url, "--complete", *HOT) as terminal:
        assert "tiny-tidar: it goes on from what you type" in terminal.wait_for("code>")
        begun = len(terminal.raw)
        terminal.type("def f(\r")
        said = terminal.wait_for("code>")
        assert said.count("T/NFE") > 3
        assert " of drafts accepted" in said
        assert all(colour in terminal.raw[begun:] for colour in (GREEN, BLUE))
        terminal.type("/help\r")
        terminal.wait_for("forget the conversation")
        terminal.type("/exit\r")
        assert terminal.end() == 0


def test_a_pipe_gets_the_servers_text_and_no_colours(server: LiveServer) -> None:
    done = piped("--url", f"{server.url}/v1", "--complete", *HOT, typed="def f(\n")
    assert done.returncode == 0, done.stderr
    fields = {"prompt": "def f(", "temperature": 100, "top_p": 1, "seed": 7, "max_tokens": 40}
    answer = server.complete(**fields)["choices"][0]["text"]
    visible = "".join(c if c == "\n" or c.isprintable() else "\ufffd" for c in answer.replace("\t", " "))
    assert visible.split("\n")[0] in done.stdout
    assert "def f(" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_chat_goes_on_where_it_was_and_lines_can_be_joined(tool_server: LiveServer) -> None:
    with Terminal("chat", "--url", tool_server.url, "--max-tokens", "8", "--temperature", "0") as terminal:
        terminal.wait_for("you>")
        for typed in ("Hello\r", "two \\\rlines\r"):
            terminal.type(typed)
            assert "tokens" in terminal.wait_for("you>")
        terminal.type("\x04")
        assert terminal.end() == 0
    before = tool_server.metrics()["tidar:prefix_cache_hits_total"]
    assert before > 0


def test_ctrl_c_stops_the_answer_and_not_the_conversation(long_server: LiveServer) -> None:
    flags = ("--complete", "--temperature", "100", "--top-p", "1", "--max-tokens", "16000", "--seed", "3")
    with Terminal("chat", "--url", long_server.url, *flags) as terminal:
        terminal.wait_for("code>")
        terminal.type("def f(\r")
        terminal.wait_for("T/NFE")
        terminal.type("\x03")
        terminal.wait_for("code>")
        long_server.wait_until_idle()
        terminal.type("/exit\r")
        assert terminal.end() == 0


def test_without_a_url_a_server_comes_and_goes(served_model: Path) -> None:
    flags = ("--model", str(served_model), "--threads", "1", "--predrafts", "full", "--max-tokens", "8")
    with Terminal("chat", *flags) as terminal:
        terminal.wait_for("you>", 120)
        children = psutil.Process(terminal.process.pid).children(recursive=True)
        assert len(children) >= 2
        terminal.type("Hello\r")
        assert "T/NFE" in terminal.wait_for("you>")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert not psutil.wait_procs(children, timeout=10)[1]


def test_what_keeps_a_chat_from_beginning_is_said_in_a_sentence(served_model: Path, tmp_path: Path) -> None:
    nobody = piped("--url", f"http://127.0.0.1:{free_port()}")
    missing = piped("--model", str(tmp_path / "nowhere"))
    with LiveServer(served_model, "--api-key", "secret") as live:
        locked = piped("--url", live.url, "--api-key", "wrong")
        opened = piped("--url", live.url, "--api-key", "secret", typed="/exit\n")
    for done, said in ((nobody, "There is no server"), (missing, "nowhere"), (locked, "valid API key")):
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert opened.returncode == 0, opened.stderr


def test_a_refused_request_leaves_the_conversation_standing(server: LiveServer) -> None:
    done = piped("--url", server.url, "--complete", "--max-tokens", "9999", typed="x = \n/exit\n")
    assert done.returncode == 0
    assert "No answer: " in done.stdout
    assert "256" in done.stdout
