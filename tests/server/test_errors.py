"""Whatever goes wrong, the answer has OpenAI's shape, names the field, and the server lives on."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.server.bad_requests import BAD_REQUESTS as BAD_GENERATIONS
from tests.server.bad_requests import CHAT, COMPLETIONS, Bad
from tests.server.bad_response_requests import RESPONSE_REQUESTS
from tests.server.live import LiveServer

JSON = {"Content-Type": "application/json"}

BAD_REQUESTS = [*BAD_GENERATIONS, *RESPONSE_REQUESTS]


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error object of an answer, which has to have this status and OpenAI's shape."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body.keys() == {"error"}
    error = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"].endswith(".")
    assert error["type"]
    assert answer.headers["x-request-id"]
    return dict(error)


def test_the_table_of_bad_requests_is_long() -> None:
    assert len(BAD_REQUESTS) >= 200


@pytest.mark.parametrize("bad", BAD_REQUESTS, ids=str)
def test_a_bad_request_is_refused_and_names_its_field(server: LiveServer, bad: Bad) -> None:
    # Written by hand, since the client's own encoder refuses half a surrogate pair.
    answer = server.client.post(bad.path, content=json.dumps(bad.body), headers=JSON)
    assert error_of(answer, bad.status)["param"] == bad.param


@pytest.mark.parametrize("bad", [bad for bad in BAD_REQUESTS if isinstance(bad.body, dict)][::5], ids=str)
def test_a_bad_request_for_a_stream_is_refused_before_the_stream_begins(server: LiveServer, bad: Bad) -> None:
    if bad.path not in (COMPLETIONS, CHAT) or "stream" in bad.body or "stream_options" in bad.body:
        pytest.skip("is no stream, or is about streaming")
    answer = server.client.post(bad.path, content=json.dumps({**bad.body, "stream": True}), headers=JSON)
    assert error_of(answer, bad.status)["param"] == bad.param


def test_refusals_reach_neither_engine_nor_counters(server: LiveServer) -> None:
    server.wait_until_idle()
    before = server.metrics()
    for bad in BAD_REQUESTS[::10]:
        server.client.post(bad.path, content=json.dumps(bad.body), headers=JSON)
    after = server.metrics()
    errors = 'tidar:request_success_total{finished_reason="error"}'
    for name in ("tidar:steps_total", "tidar:prompt_tokens_total", errors):
        assert after[name] == before[name]
    assert server.complete(prompt="x", max_tokens=1)


@pytest.mark.parametrize(
    "body", ["", "{", '{"prompt": "x"', '{"prompt": NaN, }', "prompt=x", "[" * 100_000, '{"seed": ' + "9" * 5000 + "}"]
)
def test_malformed_json_is_a_400(server: LiveServer, body: str) -> None:
    error_of(server.client.post(COMPLETIONS, content=body, headers=JSON), 400)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(server: LiveServer, value: str) -> None:
    body = f'{{"prompt": "x", "temperature": {value}}}'
    assert error_of(server.client.post(COMPLETIONS, content=body, headers=JSON), 400)["param"] == "temperature"


def test_bytes_that_are_no_text_are_a_400(server: LiveServer) -> None:
    error_of(server.client.post(COMPLETIONS, content=b'{"prompt": "\xff\xfe"}', headers=JSON), 400)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_a_body_that_is_not_declared_as_json_is_a_415(server: LiveServer, kind: str) -> None:
    answer = server.client.post(COMPLETIONS, content='{"prompt": "x"}', headers={"Content-Type": kind})
    error_of(answer, 415)


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/web",
        "/web/nothing.js",
        "/web/../app.py",
        "/v1/nothing",
        "/v1/completions/",
        "/v2/models",
        "/%00",
        "/..%2f",
    ],
)
def test_an_unknown_path_is_a_404(server: LiveServer, path: str) -> None:
    error_of(server.client.get(path), 404)


def test_an_unknown_model_is_a_404_that_names_the_right_one(server: LiveServer) -> None:
    error = error_of(server.get("/v1/models/gpt-4"), 404)
    assert error["code"] == "model_not_found"
    assert "tiny-tidar" in error["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", COMPLETIONS), ("PUT", CHAT), ("DELETE", "/v1/models"), ("POST", "/health"), ("PATCH", "/metrics")],
)
def test_a_wrong_method_is_a_405_that_names_the_right_one(server: LiveServer, method: str, path: str) -> None:
    answer = server.client.request(method, path)
    error_of(answer, 405)
    assert answer.headers["allow"]


def test_the_context_limit_is_told_in_numbers(server: LiveServer) -> None:
    error = error_of(server.post(COMPLETIONS, {"prompt": [5] * 200, "max_tokens": 100}), 400)
    assert error["code"] == "context_length_exceeded"
    assert all(number in error["message"] for number in ("200", "100", "300", "256", "56"))
    error = error_of(server.post(COMPLETIONS, {"prompt": [5] * 300}), 400)
    assert error["code"] == "context_length_exceeded"
    assert all(number in error["message"] for number in ("300", "256"))


def test_unknown_fields_are_named_in_a_header(server: LiveServer) -> None:
    answer = server.post(COMPLETIONS, {"prompt": "x", "max_tokens": 1, "zeal": 1, "store": True, "a\r\nb": 1})
    assert answer.status_code == 200
    assert answer.headers["x-tidar-ignored-fields"] == "a??b, store, zeal"
    assert "x-tidar-ignored-fields" not in server.post(COMPLETIONS, {"prompt": "x", "max_tokens": 1}).headers


def test_null_means_the_default_everywhere(server: LiveServer) -> None:
    schema = server.get("/openapi.json").json()["components"]["schemas"]
    for name, path, needed in (
        ("CompletionRequest", COMPLETIONS, {"prompt": "x"}),
        ("ChatRequest", CHAT, {"messages": [{"role": "user", "content": "x"}]}),
    ):
        nothing = dict.fromkeys(schema[name]["properties"])
        assert len(nothing) > 25
        assert server.post(path, {**nothing, **needed, "max_tokens": 2}).status_code == 200
