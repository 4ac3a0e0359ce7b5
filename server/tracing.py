"""OpenTelemetry traces over OTLP: a span per request, and beneath it what the engine did for each of its sequences.

Spans are made when a request is over, with the times at which things happened, so that requests pay nothing for them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError
from engine.messages import RequestSteps, RequestTimes
from server.exchange import Exchange
from server.generation import Generation
from server.settings import VERSION

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter

TRACES_PATH = "/v1/traces"
#: how long the last spans may take to leave, in seconds
CLOSE_SECONDS = 3.0
NEEDED = "--otlp-endpoint needs OpenTelemetry: pip install 'tidar-serve[otel]'."


def tracing(endpoint: str, model: str) -> Tracing:
    """Traces to an OTLP collector that speaks HTTP. Raises EngineError where OpenTelemetry is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise EngineError(NEEDED) from None
    address = endpoint.rstrip("/")
    if not address.endswith(TRACES_PATH):
        address += TRACES_PATH
    return Tracing(OTLPSpanExporter(endpoint=address), model)


class Tracing:
    """Hands finished exchanges to an exporter. A `traceparent` header makes them part of the caller's trace.

    Sampling, service name and batching follow OpenTelemetry's own variables, such as OTEL_TRACES_SAMPLER.
    """

    def __init__(self, exporter: SpanExporter, model: str) -> None:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        ours = Resource({"service.name": "tidar-serve", "service.version": VERSION})
        resource = ours.merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("tidar", VERSION)
        self._propagator = TraceContextTextMapPropagator()
        self._model = model

    def __call__(self, exchange: Exchange) -> None:
        """Record an exchange that is over, and write its trace id into it."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context

        if exchange.probes:
            return
        generation = exchange.generation
        span = self._tracer.start_span(
            f"{exchange.method} {exchange.handler}",
            context=self._propagator.extract(dict(exchange.headers)),
            kind=SpanKind.SERVER,
            start_time=_nanoseconds(exchange.began),
            attributes=_set({**_http(exchange), **(self._usage(exchange, generation) if generation else {})}),
        )
        if exchange.error is not None and exchange.status >= 500:
            span.set_status(Status(StatusCode.ERROR, exchange.error))
        if span.get_span_context().trace_flags.sampled:
            exchange.trace_id = format_trace_id(span.get_span_context().trace_id)
        if generation is not None:
            self._sequences(generation, set_span_in_context(span))
        span.end(_nanoseconds(exchange.began + exchange.seconds))

    def close(self) -> None:
        """Send what has not been sent yet, but wait for a collector no longer than for clients."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(CLOSE_SECONDS)

    def _usage(self, exchange: Exchange, generation: Generation) -> dict[str, Any]:
        account, params = generation.account(), generation.job.params
        return {
            "gen_ai.operation.name": "text_completion" if exchange.handler == "/v1/completions" else "chat",
            "gen_ai.request.model": self._model,
            "gen_ai.response.id": generation.job.request_id,
            "gen_ai.request.temperature": params.temperature,
            "gen_ai.request.top_p": params.top_p,
            "gen_ai.request.max_tokens": max(generation.job.limits),
            "gen_ai.request.choice.count": generation.job.n,
            "gen_ai.usage.input_tokens": account.prompt_tokens,
            "gen_ai.usage.output_tokens": account.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": account.cached_tokens,
            "gen_ai.response.finish_reasons": account.finish_reasons,
            "gen_ai.latency.time_in_queue": account.queue_time,
            "gen_ai.latency.time_to_first_token": account.time_to_first_token,
            "tidar.tokens_per_forward": account.tokens_per_forward,
            "tidar.acceptance_rate": account.acceptance_rate,
            "tidar.decode_forwards": account.decode_forwards,
            "tidar.preemptions": account.preemptions,
        }

    def _sequences(self, generation: Generation, parent: Context) -> None:
        for index, timeline in enumerate(generation.timelines):
            times = timeline.times
            if times is not None:
                attributes = {
                    "tidar.choice": index,
                    "tidar.finish_reason": timeline.reason,
                    **_decoding(timeline.steps),
                }
                self._engine_spans(times, generation.job.created, attributes, parent)

    def _engine_spans(self, times: RequestTimes, arrived: float, attributes: dict[str, Any], parent: Context) -> None:
        """The sequence's time in the engine, cut into waiting, prompt and decoding; `arrived` is time.time()."""
        from opentelemetry.trace import set_span_in_context

        def at(moment: float) -> int:
            return _nanoseconds(arrived + moment - times.arrival)

        whole = self._tracer.start_span("engine", parent, start_time=at(times.arrival), attributes=_set(attributes))
        inside = set_span_in_context(whole)
        moments = [times.arrival, times.scheduled, times.first_token, times.finished]
        for name, start, end in zip(("queue", "prefill", "decode"), moments, moments[1:], strict=False):
            if not end:
                break
            self._tracer.start_span(f"engine.{name}", inside, start_time=at(start)).end(at(end))
        whole.end(at(times.finished))


def _http(exchange: Exchange) -> dict[str, Any]:
    return {
        "http.request.method": exchange.method,
        "http.route": exchange.handler,
        "url.path": exchange.path,
        "http.response.status_code": exchange.status,
        "error.type": exchange.error,
        "tidar.request_id": exchange.request_id,
    }


def _decoding(steps: RequestSteps | None) -> dict[str, Any]:
    if steps is None:
        return {}
    return {
        "tidar.decode_forwards": steps.forwards,
        "tidar.tokens_per_forward": steps.committed / steps.forwards if steps.forwards else None,
        "tidar.draft_tokens": steps.draft_tokens,
        "tidar.cached_tokens": steps.cached_tokens,
        "tidar.preemptions": steps.preemptions,
    }


def _set(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes without those that have no value."""
    return {name: value for name, value in attributes.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
