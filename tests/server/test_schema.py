"""Requests made up from the server's own OpenAPI schema, those that keep to it and those that break it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given

from tests.server.live import LiveServer

#: for one request of a few tokens, with its connection
PATIENCE_SECONDS = 15.0
#: per operation and mode; all of it takes about a minute
EXAMPLES = 40


@pytest.fixture(scope="module")
def small(served_model: Path) -> Iterator[LiveServer]:
    """Few places, so that a made-up n of a hundred is refused rather than computed."""
    with LiveServer(served_model, "--max-num-seqs", "4", "--max-waiting", "4", "--max-stored-responses", "10") as live:
        yield live


@pytest.fixture(scope="module")
def operations(small: LiveServer) -> dict[str, schemathesis.APIOperation]:
    schema = schemathesis.openapi.from_url(f"{small.url}/openapi.json")
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


def test_every_endpoint_is_described(operations: dict[str, schemathesis.APIOperation]) -> None:
    paths = ("completions", "chat/completions", "responses", "models", "models/{name}", "responses/{response_id}")
    assert {f"/v1/{path}" for path in paths} < {label.split()[1] for label in operations}
    assert len(operations) >= 15


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_no_request_breaks_the_server_or_its_manners(
    small: LiveServer, operations: dict[str, schemathesis.APIOperation], mode: schemathesis.GenerationMode
) -> None:
    answered = set()
    for operation in operations.values():
        if mode is schemathesis.GenerationMode.NEGATIVE and not (len(operation.body) or len(operation.query)):
            continue  # there is nothing in these that could be wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        @hypothesis.settings(
            max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
        )
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(timeout=PATIENCE_SECONDS)
            answered.add(answer.status_code)
            check(answer, case)

        ask()
    assert answered >= ({200, 400, 404} if mode is schemathesis.GenerationMode.POSITIVE else {400})
    assert small.complete(prompt="x", max_tokens=1)
    small.wait_until_idle()


def check(answer: schemathesis.Response, case: schemathesis.Case) -> None:
    """No server error, and every failure in OpenAI's shape."""
    told = f"{case.method} {case.formatted_path} {case.body!r}: {answer.status_code} {answer.text[:300]}"
    assert answer.status_code < 500, told
    if answer.status_code >= 400 and case.method != "HEAD":
        body = json.loads(answer.text)
        assert body.keys() == {"error"}, told
        assert body["error"].keys() == {"message", "type", "param", "code"}, told
        assert body["error"]["message"], told
