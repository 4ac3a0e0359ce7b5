"""LiteLLM, LangChain, instructor, openai for Node and the AI SDK, each in an environment of its own, on a live server.

Every client is a program that runs named cases and reports what its users would see; what they have to see is what the
server says to a bare HTTP client.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.clients.installing import NotInstallableError, node_modules_with, python_with
from tests.server.live import LiveServer

PROGRAMS = Path(__file__).parent / "programs"
MODEL = "tiny-tidar"
SAMPLING: dict[str, Any] = {"temperature": 2.0, "seed": 7, "max_tokens": 16}
MESSAGES = [{"role": "system", "content": "You write Python."}, {"role": "user", "content": "Add two numbers."}]
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "AI_SDK_LOG_WARNINGS": "false"}
#: what every client can be asked
ANSWERS = ("chat", "chat_stream", "stop", "completion", "json_schema", "tools")
REFUSALS = ("bad_request", "unknown_model", "no_embeddings")
COMMON = (*ANSWERS, *REFUSALS)
OPENAIS = (*COMMON, "several", "logprobs", "response")

Results = dict[str, Any]


class Client(NamedTuple):
    """One client: its pinned packages, its program, and the cases that it has to report."""

    pins: tuple[str, ...]
    program: str
    cases: tuple[str, ...]


CLIENTS = {
    "litellm": Client(
        ("litellm==1.106.2", "mcp==2.3.0"),
        "litellm_cases.py",
        (*OPENAIS, "chat_by_the_openai_provider", "chat_async", "chat_stream_async"),
    ),
    "langchain": Client(
        ("langchain-openai==1.7.3", "openai==3.54.0"),
        "langchain_cases.py",
        (*OPENAIS, "chat_async", "chat_stream_async", "batch", "response_stream", "tools_stream"),
    ),
    "instructor": Client(
        ("instructor==1.17.0", "openai==3.3.0"),
        "instructor_cases.py",
        ("json_schema", "tools", "json_schema_async", "partial", "bad_request"),
    ),
    "openai for Node": Client(
        ("openai@7.57.0",),
        "openai_node_cases.mjs",
        (
            *OPENAIS,
            *("models", "stream_helper", "tools_stream", "leaving"),
            *("response_stream", "response_stream_helper", "response_tools", "background"),
        ),
    ),
    "AI SDK": Client(
        ("ai@7.0.173", "@ai-sdk/openai-compatible@3.0.92", "zod@4.6.7"),
        "ai_sdk_cases.mjs",
        (*COMMON, "tools_stream", "extra_fields", "leaving"),
    ),
}
EACH_CASE = [
    pytest.param(name, case, id=f"{name}: {case.replace('_', ' ')}")
    for name, client in CLIENTS.items()
    for case in client.cases
]


@pytest.fixture(scope="session")
def reports(tool_server: LiveServer, pytestconfig: pytest.Config) -> Callable[[str], Results]:
    """What a client reports; it is installed and run at its first case."""
    cache = pytestconfig.cache
    assert cache is not None
    folder = cache.mkdir("clients")
    known: dict[str, Results | NotInstallableError] = {}

    def report_of(name: str) -> Results:
        if name not in known:
            try:
                known[name] = run(CLIENTS[name], tool_server, folder)
            except NotInstallableError as error:
                known[name] = error
        report = known[name]
        if isinstance(report, NotInstallableError):
            pytest.skip(str(report))
        return report

    return report_of


def run(client: Client, server: LiveServer, cache: Path) -> Results:
    """Raises NotInstallableError where its packages cannot be had."""
    program = PROGRAMS / client.program
    if program.suffix == ".py":
        command = [str(python_with(client.pins, cache)), str(program)]
    else:
        # node looks for packages from where a program lies
        folder = node_modules_with(client.pins, cache)
        for source in PROGRAMS.glob("*.mjs"):
            (folder / source.name).write_text(source.read_text())
        command = ["node", str(folder / program.name)]
    done = subprocess.run(
        [*command, f"{server.url}/v1", MODEL],
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | OFFLINE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def chat(server: LiveServer, **fields: Any) -> dict[str, Any]:
    answer = server.chat(messages=MESSAGES, **SAMPLING, **fields)
    choice = answer["choices"][0]
    counted = {name: answer["usage"][name] for name in ("prompt_tokens", "completion_tokens")}
    return {"text": choice["message"]["content"], "finish": choice["finish_reason"], "usage": counted}


def check_chat(server: LiveServer, seen: Results) -> None:
    expected = chat(server)
    assert seen["text"] == expected["text"]
    if "finish" in seen:
        assert seen["finish"] == expected["finish"]
        assert {**seen["usage"], **expected["usage"]} == seen["usage"]


def check_chat_stream(server: LiveServer, seen: Results) -> None:
    expected = chat(server)
    assert seen["text"] == expected["text"]
    if "chunks" in seen:
        assert seen["chunks"] > 3
        assert {**seen["usage"], **expected["usage"]} == seen["usage"]


def check_batch(server: LiveServer, seen: Results) -> None:
    assert seen["texts"] == [chat(server)["text"]] * 2


def check_stop(server: LiveServer, seen: Results) -> None:
    text = chat(server)["text"]
    assert seen["text"] == text[: text.index(seen["stop"])]
    assert seen["finish"] == "stop"


def check_several(server: LiveServer, seen: Results) -> None:
    choices = server.chat(messages=MESSAGES, **SAMPLING, n=3)["choices"]
    assert seen["texts"] == [choice["message"]["content"] for choice in choices]


def check_logprobs(server: LiveServer, seen: Results) -> None:
    assert seen == {"tokens": chat(server)["usage"]["completion_tokens"], "top": 2}


def check_completion(server: LiveServer, seen: Results) -> None:
    prompts = ("def f(", "x", "user:\nx\n\nassistant:\n")
    assert seen["text"] in [server.complete(prompt=p, **SAMPLING)["choices"][0]["text"] for p in prompts]


def check_response(server: LiveServer, seen: Results) -> None:
    fields = {"input": "Add two numbers.", "temperature": 2.0, "max_output_tokens": 16, "seed": 7}
    response = server.post("/v1/responses", fields).json()
    assert seen["text"] == response["output"][0]["content"][0]["text"]
    if "tokens" in seen:
        assert seen["tokens"] == response["usage"]["output_tokens"]
    assert seen.get("kept", seen["text"]) == seen["text"]


def check_response_stream_helper(_: LiveServer, seen: Results) -> None:
    assert seen["text"] == seen["whole"][: seen["whole"].index(seen["stop"])]
    assert seen["status"] == "completed"


def check_background(_: LiveServer, seen: Results) -> None:
    assert seen["queued"] in ("queued", "in_progress")
    assert seen["cancelled"] in ("cancelled", "incomplete", "completed")


def check_leaving(server: LiveServer, seen: Results) -> None:
    assert seen == {"aborted": True}
    server.wait_until_idle(2)


def check_models(_: LiveServer, seen: Results) -> None:
    assert seen == {"names": [MODEL], "found": MODEL}


def check_extra_fields(_: LiveServer, seen: Results) -> None:
    assert seen == {"same": True}


def check_bad_request(_: LiveServer, seen: Results) -> None:
    assert seen["status"] == 400
    assert "temperature must lie between 0 and 100" in seen["message"]


def check_unknown_model(_: LiveServer, seen: Results) -> None:
    assert seen["status"] == 404
    assert MODEL in seen["message"]


def check_no_embeddings(_: LiveServer, seen: Results) -> None:
    assert seen["status"] == 404
    assert "There is no /v1/embeddings here" in seen["message"]


def check_plan(_: LiveServer, seen: Results) -> None:
    """Random weights, yet the plan is one, since the grammar leaves them no other choice."""
    assert seen["plan"].keys() == {"first", "second"}
    for step in seen["plan"].values():
        assert isinstance(step["done"], bool)
        assert step["kind"] in ("sum", "product")


CHECKS: dict[str, Callable[[LiveServer, Results], None]] = {
    "chat": check_chat,
    "chat_async": check_chat,
    "chat_by_the_openai_provider": check_chat,
    "stream_helper": check_chat,
    "chat_stream": check_chat_stream,
    "chat_stream_async": check_chat_stream,
    "batch": check_batch,
    "stop": check_stop,
    "several": check_several,
    "logprobs": check_logprobs,
    "completion": check_completion,
    "response": check_response,
    "response_stream": check_response,
    "response_stream_helper": check_response_stream_helper,
    "background": check_background,
    "json_schema": check_plan,
    "json_schema_async": check_plan,
    "tools": check_plan,
    "tools_stream": check_plan,
    "response_tools": check_plan,
    "partial": check_plan,
    "leaving": check_leaving,
    "models": check_models,
    "extra_fields": check_extra_fields,
    "bad_request": check_bad_request,
    "unknown_model": check_unknown_model,
    "no_embeddings": check_no_embeddings,
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), EACH_CASE)
def test_its_users_see_what_the_server_says(
    reports: Callable[[str], Results], tool_server: LiveServer, name: str, case: str
) -> None:
    seen = reports(name)[case]
    assert "failed" not in seen, seen
    CHECKS[case](tool_server, seen)
