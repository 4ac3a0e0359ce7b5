"""Traces reach a collector, as part of the caller's trace where it names one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.server.collector import Collector, attributes
from tests.server.live import LiveServer

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
#: as few seconds as make the exporter send at once
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced(served_model: Path, collector: Collector) -> Iterator[LiveServer]:
    flags = ("--decoding", "tidar", "--predrafts", "full", "--otlp-endpoint", collector.url, "--log-format", "json")
    with LiveServer(served_model, *flags, env=QUICK) as live:
        yield live


@pytest.fixture(scope="module")
def spans(traced: LiveServer, collector: Collector) -> list[Span]:
    """Of one completion with two choices, asked for within a trace."""
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-Id": "traced-1"}
    body = {"prompt": "secret", "max_tokens": 12, "temperature": 100, "seed": 1, "ignore_eos": True, "n": 2}
    answer = traced.post("/v1/completions", body, headers=headers)
    assert answer.status_code == 200
    traced.wait_until(lambda: collector.named("POST /v1/completions"), 10)
    return list(collector.spans)


def only(spans: list[Span], name: str) -> Span:
    found = [span for span in spans if span.name == name]
    assert len(found) == 1, [span.name for span in spans]
    return found[0]


def test_a_request_is_part_of_the_trace_it_names(spans: list[Span]) -> None:
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert only(spans, "POST /v1/completions").parent_span_id.hex() == CALLER


def test_the_servers_span_says_what_the_request_took(spans: list[Span], collector: Collector) -> None:
    said = attributes(list(only(spans, "POST /v1/completions").attributes))
    assert said["tidar.request_id"] == "traced-1"
    assert said["http.response.status_code"] == 200
    assert said["gen_ai.usage.output_tokens"] == 24
    assert said["gen_ai.request.model"] == "tiny-tidar"
    assert said["gen_ai.response.finish_reasons"] == ["length", "length"]
    assert isinstance(said["tidar.tokens_per_forward"], float) and said["tidar.tokens_per_forward"] > 1
    assert collector.resource["service.name"] == "tidar-serve"


def test_every_choice_has_its_time_in_the_engine_beneath(spans: list[Span]) -> None:
    server = only(spans, "POST /v1/completions")
    engines = [span for span in spans if span.name == "engine"]
    assert {span.parent_span_id for span in engines} == {server.span_id}
    assert sorted(int(str(attributes(list(span.attributes))["tidar.choice"])) for span in engines) == [0, 1]
    for span in engines:
        parts = [part for part in spans if part.parent_span_id == span.span_id]
        assert [part.name for part in parts] == ["engine.queue", "engine.prefill", "engine.decode"]
        assert parts[0].start_time_unix_nano == span.start_time_unix_nano
        assert parts[-1].end_time_unix_nano == span.end_time_unix_nano
        assert all(part.start_time_unix_nano <= part.end_time_unix_nano for part in parts)
        assert server.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= server.end_time_unix_nano


def test_no_span_holds_a_prompt(spans: list[Span]) -> None:
    assert not any(b"secret" in span.SerializeToString() for span in spans)


def test_the_log_names_the_trace(traced: LiveServer, spans: list[Span]) -> None:
    lines = [line for line in traced.log.splitlines() if '"request_id":"traced-1"' in line]
    assert len(lines) == 1 and f'"trace_id":"{TRACE}"' in lines[0]


def test_probes_are_not_traced(traced: LiveServer, collector: Collector, spans: list[Span]) -> None:
    for path in ("/health", "/health/ready", "/metrics"):
        assert traced.get(path).status_code == 200
    assert traced.get("/v1/models").status_code == 200
    traced.wait_until(lambda: collector.named("GET /v1/models"), 10)
    assert not [span for span in collector.spans if "health" in span.name or "metrics" in span.name]


def test_a_collector_that_is_gone_holds_up_neither_requests_nor_the_end(served_model: Path) -> None:
    with LiveServer(served_model, "--otlp-endpoint", "http://127.0.0.1:9") as live:
        live.complete(prompt="x", max_tokens=2)
        live.stop()
        assert live.process.wait(30) == 0
