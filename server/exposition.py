"""/metrics: each engine's last snapshot and the server's own figures, as Prometheus families.

d_0 of a step comes from the AR head, so it is vLLM's bonus token: a decode step counts one draft, k - 1 draft tokens
and a - 1 accepted ones. Hence tokens per forward = 1 + accepted / drafts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate, chain

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.client import EngineClient
from engine.fleet import EngineFleet
from engine.messages import EngineStats
from server.metrics import ServerMetrics
from server.step_families import step_families

Families = Iterator[Metric]


class Exposition(Collector):
    """Collects everything at the moment of a scrape; nothing is kept here.

    Figures of an engine carry its number as the label `engine`; what the server itself measures is of all engines.
    """

    def __init__(self, fleet: EngineFleet, metrics: ServerMetrics, model: str) -> None:
        self._metrics = metrics
        self._labels = {"model_name": model}
        self._engines = [
            _EngineFigures(engine, {**self._labels, "engine": str(index)}) for index, engine in enumerate(fleet.engines)
        ]
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """The exposition in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Families:
        yield from _joined(figures.families() for figures in self._engines)
        yield from self._requests()

    def _requests(self) -> Families:
        finished = CounterMetricFamily(
            "tidar:request_success", "Sequences finished, by reason.", labels=[*self._labels, "finished_reason"]
        )
        for reason, count in self._metrics.finished.items():
            finished.add_metric([*self._labels.values(), reason], count)
        yield finished
        errors = CounterMetricFamily(
            "tidar:request_errors",
            "HTTP requests that failed, mid-stream too, by kind.",
            labels=[*self._labels, "kind"],
        )
        for kind, count in self._metrics.errors.items():
            errors.add_metric([*self._labels.values(), kind], count)
        yield errors
        answered = CounterMetricFamily(
            "tidar:http_requests", "HTTP requests answered.", labels=[*self._labels, "method", "handler", "status"]
        )
        for (method, handler, status), count in self._metrics.answered.items():
            answered.add_metric([*self._labels.values(), method, handler, str(status)], count)
        yield answered
        for histogram in self._metrics.histograms:
            yield histogram.family(self._labels)


class _EngineFigures:
    """The families of one engine."""

    def __init__(self, engine: EngineClient, labels: dict[str, str]) -> None:
        self._engine = engine
        self._labels = labels

    def families(self) -> Families:
        stats = self._engine.stats
        yield from self._load(stats)
        yield from self._tokens(stats)
        yield from self._drafting(stats)
        yield from self._speculation_aliases(stats)
        yield from self._steps(stats)
        yield from step_families(stats, self._labels)

    def _load(self, stats: EngineStats) -> Families:
        yield self._gauge("num_requests_running", "Sequences in the running batch.", stats.running)
        yield self._gauge("num_requests_waiting", "Sequences waiting for a place.", stats.waiting)
        used = stats.pages_used / stats.pages_total if stats.pages_total else 0.0
        yield self._gauge("kv_cache_usage_perc", "Share of KV cache pages in use, 0 to 1.", used)
        yield self._gauge("kv_cache_pages", "KV cache pages in all.", stats.pages_total)
        yield self._gauge(
            "engine_resident_memory_bytes", "Memory the engine process holds in RAM.", stats.resident_bytes
        )
        yield self._gauge("engine_healthy", "1 while the engine process is up and loaded.", float(self._engine.healthy))
        yield self._counter("engine_restarts", "Times the engine process was started again.", self._engine.restarts)
        yield self._counter("num_preemptions", "Sequences sent back to wait for want of pages.", stats.preemptions)
        yield self._counter(
            "prefix_cache_queries", "Prompt tokens looked up in the prefix cache.", stats.prefix_cache_queries
        )
        yield self._counter("prefix_cache_hits", "Prompt tokens found in the prefix cache.", stats.prefix_cache_hits)

    def _tokens(self, stats: EngineStats) -> Families:
        yield self._counter("prompt_tokens", "Prompt tokens processed.", stats.prompt_tokens)
        yield self._counter("generation_tokens", "Tokens generated.", stats.generation_tokens)
        yield self._gauge(
            "tokens_per_second", "Tokens generated per second, over the last seconds.", self._engine.tokens_per_second
        )

    def _drafting(self, stats: EngineStats) -> Families:
        ratio = stats.committed_tokens / stats.decode_forwards if stats.decode_forwards else 0.0
        yield self._gauge("tokens_per_forward", "Tokens committed per decode forward of a sequence (T/NFE).", ratio)
        rate = stats.accepted_tokens / stats.draft_tokens if stats.draft_tokens else 0.0
        yield self._gauge("acceptance_rate", "Share of draft tokens that were accepted.", rate)
        yield self._counter("draft_tokens", "Draft tokens verified, d_0 left out.", stats.draft_tokens)
        yield self._counter("accepted_tokens", "Draft tokens accepted, d_0 left out.", stats.accepted_tokens)
        yield self._per_position("tidar:accepted_tokens_per_position", stats)
        yield self._acceptance_lengths(stats)
        yield self._counter("cold_steps", "Decode steps that had only d_0 and drafted anew.", stats.cold_steps)
        yield self._gauge("chosen_draft_length", "Draft length k of the last step.", stats.draft_length)
        yield self._gauge("chosen_predrafts", "Pre-draft groups per window of the last step.", stats.predraft_groups)
        yield self._gauge(
            "expected_tokens_per_second",
            "Tokens per second that the automatic policy expects of its choice; 0 under fixed settings.",
            stats.expected_tokens_per_second,
        )

    def _speculation_aliases(self, stats: EngineStats) -> Families:
        """What vLLM's own benchmark and dashboards read."""
        for name, value, text in (
            ("num_drafts", stats.decode_forwards, "Decode steps."),
            ("num_draft_tokens", stats.draft_tokens, "Draft tokens verified."),
            ("num_accepted_tokens", stats.accepted_tokens, "Draft tokens accepted."),
        ):
            yield self._counter(name, text, value, prefix="vllm:spec_decode_")
        yield self._per_position("vllm:spec_decode_num_accepted_tokens_per_pos", stats)

    def _steps(self, stats: EngineStats) -> Families:
        yield self._counter("steps", "Engine steps.", stats.steps)
        yield self._counter("step_seconds", "Seconds spent in engine steps.", stats.step_seconds)
        forwards = CounterMetricFamily(
            "tidar:forwards", "Forwards by what they carried.", labels=[*self._labels, "kind"]
        )
        for kind, count in stats.forwards_by_kind.items():
            forwards.add_metric([*self._labels.values(), kind], count)
        yield forwards

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"tidar:{name}", text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _counter(self, name: str, text: str, value: float, prefix: str = "tidar:") -> Metric:
        family = CounterMetricFamily(prefix + name, text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _per_position(self, name: str, stats: EngineStats) -> Metric:
        text = "Draft tokens accepted at each place after d_0."
        family = CounterMetricFamily(name, text, labels=[*self._labels, "position"])
        for position, count in enumerate(stats.accepted_per_position):
            family.add_metric([*self._labels.values(), str(position)], count)
        return family

    def _acceptance_lengths(self, stats: EngineStats) -> Metric:
        """Tokens committed per decode step, as a histogram with one bucket per length."""
        counts = stats.acceptance_lengths
        buckets = [(f"{length}.0", float(total)) for length, total in enumerate(accumulate(counts), start=1)]
        buckets.append(("+Inf", float(sum(counts))))
        total = sum(length * count for length, count in enumerate(counts, start=1))
        text = "Tokens committed by a decode step."
        family = HistogramMetricFamily("tidar:acceptance_length", text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), buckets, total)
        return family


def _joined(parts: Iterable[Families]) -> list[Metric]:
    """Families of the same name made one, with the samples of all parts."""
    joined: dict[str, Metric] = {}
    for family in chain.from_iterable(parts):
        known = joined.setdefault(family.name, family)
        if known is not family:
            known.samples += family.samples
    return list(joined.values())
