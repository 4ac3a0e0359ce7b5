"""JSON logs: one line per finished request, with what it took and never with what it said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.live import LiveServer

SECRET = "kumquat"


@pytest.fixture(scope="module")
def logging_server(served_model: Path) -> Iterator[LiveServer]:
    flags = ("--decoding", "tidar", "--predrafts", "full", "--log-format", "json")
    with LiveServer(served_model, *flags) as live:
        yield live


def lines(server: LiveServer) -> list[dict[str, Any]]:
    """Everything the server has printed; all of it has to be JSON."""
    return [json.loads(line) for line in server.log.splitlines()]


def line_of(server: LiveServer, request_id: str) -> dict[str, Any]:
    server.wait_until(lambda: any(line.get("request_id") == request_id for line in lines(server)), 5)
    found = [line for line in lines(server) if line.get("request_id") == request_id]
    assert len(found) == 1
    return found[0]


def test_a_request_leaves_one_line_with_what_it_took(logging_server: LiveServer) -> None:
    body = {"prompt": f"{SECRET} ", "max_tokens": 20, "temperature": 100, "seed": 3, "ignore_eos": True}
    answer = logging_server.post("/v1/completions?token=hidden", body, headers={"X-Request-Id": "whole-1"})
    line = line_of(logging_server, "whole-1")
    usage = answer.json()["usage"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/completions", 200)
    assert (line["prompt_tokens"], line["completion_tokens"]) == (usage["prompt_tokens"], 20)
    assert line["model"] == "tiny-tidar" and line["finish_reasons"] == ["length"]
    assert line["tokens_per_forward"] > 1 and line["decode_forwards"] > 0
    assert 0 < line["time_to_first_token"] <= line["seconds"]
    assert line["level"] == "info" and line["time"].endswith("+00:00")


def test_a_stream_leaves_its_line_when_it_ends(logging_server: LiveServer) -> None:
    body = {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 8, "stream": True}
    answer = logging_server.post("/v1/chat/completions", body, headers={"X-Request-Id": "stream-1"})
    assert answer.text.endswith("data: [DONE]\n\n")
    assert line_of(logging_server, "stream-1")["completion_tokens"] <= 8


def test_a_response_made_in_the_background_leaves_its_line_when_it_is_made(logging_server: LiveServer) -> None:
    body = {"input": SECRET, "max_output_tokens": 30, "background": True}
    logging_server.post("/v1/responses", body, headers={"X-Request-Id": "background-1"})
    line = line_of(logging_server, "background-1")
    assert line["finish_reasons"][0] in ("stop", "length")
    assert line["completion_tokens"] > 0


def test_a_refusal_is_logged_with_its_kind(logging_server: LiveServer) -> None:
    logging_server.post("/v1/completions", {"prompt": "x", "n": 0}, headers={"X-Request-Id": "bad-1"})
    line = line_of(logging_server, "bad-1")
    assert (line["status"], line["error"]) == (400, "invalid_request_error")
    assert "completion_tokens" not in line


def test_a_client_that_leaves_is_logged_as_such(logging_server: LiveServer) -> None:
    body = {"prompt": "x", "max_tokens": 240, "ignore_eos": True, "stream": True, "n": 8}
    headers = {"X-Request-Id": "gone-1"}
    with httpx.stream("POST", f"{logging_server.url}/v1/completions", json=body, headers=headers) as answer:
        next(answer.iter_bytes())
    line = line_of(logging_server, "gone-1")
    assert line["error"] == "client_closed_request"
    assert "abort" in line["finish_reasons"]
    logging_server.wait_until_idle()


def test_probes_leave_no_line_and_nothing_tells_prompts_answers_or_queries(logging_server: LiveServer) -> None:
    logging_server.get("/health/ready")
    logging_server.get("/nowhere", headers={"X-Request-Id": "nowhere-1"})
    assert line_of(logging_server, "nowhere-1")["error"] == "not_found_error"
    assert not [line for line in lines(logging_server) if line.get("path") in ("/health", "/health/ready", "/metrics")]
    assert SECRET not in logging_server.log and "hidden" not in logging_server.log


def test_the_start_is_a_line_too(logging_server: LiveServer) -> None:
    ready = next(line for line in lines(logging_server) if line["message"] == "TiDAR Serve is ready.")
    assert ready["address"] == logging_server.url and ready["num_pages"] > 0


def test_lines_for_people_hold_the_same_when_asked_for(served_model: Path) -> None:
    with LiveServer(served_model, "--access-log") as live:
        live.post("/v1/completions", {"prompt": "x", "max_tokens": 2}, headers={"X-Request-Id": "plain-1"})
        live.wait_until(lambda: "request_id=plain-1" in live.log, 5)
        line = next(line for line in live.log.splitlines() if "request_id=plain-1" in line)
        assert "POST /v1/completions 200" in line and "completion_tokens=2" in line
        live.get("/nowhere%0aERROR%20forged%E2%80%A8too", headers={"X-Request-Id": "forged-1"})
        live.wait_until(lambda: "request_id=forged-1" in live.log, 5)
        line = next(line for line in live.log.splitlines() if "request_id=forged-1" in line)
        assert "GET /nowhere%0AERROR%20forged%E2%80%A8too 404" in line
        assert "path=/nowhere\\nERROR forged\\u2028too " in line
