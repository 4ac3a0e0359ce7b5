"""What the server itself measures; names, where the meaning is the same, are vLLM's."""

from __future__ import annotations

from collections import Counter

from engine.messages import RequestSteps, RequestTimes
from server.exchange import Exchange
from server.histogram import Histogram

FINISH_REASONS = ("stop", "length", "abort", "error")
#: kinds of failure that are shown from the start, so that a rate sees the first one
ERROR_KINDS = (
    "client_closed_request", "engine_error", "engine_restarting", "internal_error", "invalid_request_error",
    "queue_full", "shutting_down",
)  # fmt: skip

#: seconds; small models answer within milliseconds, long prompts within a minute
FIRST_TOKEN_BOUNDS = (
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.02, 0.04, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0
)  # fmt: skip
BETWEEN_TOKENS_BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5
)  # fmt: skip
REQUEST_BOUNDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 120.0, 240.0
)  # fmt: skip
PHASE_BOUNDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 240.0
)  # fmt: skip
#: tokens of a request
TOKEN_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)
CHOICE_BOUNDS = (1, 2, 3, 4, 5, 10, 20, 50, 128)
#: tokens per forward of a request: 1 is plain AR, k the best there is
FORWARD_BOUNDS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0, 32.0)
SHARE_BOUNDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class ServerMetrics:
    """Figures of requests. One engine sequence counts as one request, but for `request_params_n` and failures."""

    def __init__(self) -> None:
        self.histograms: list[Histogram] = []
        self._add_times()
        self._add_sizes()
        self.finished: Counter[str] = Counter(dict.fromkeys(FINISH_REASONS, 0))
        #: failed HTTP requests by the error's code, or its type where it has none
        self.errors: Counter[str] = Counter(dict.fromkeys(ERROR_KINDS, 0))
        #: HTTP requests by method, route and status
        self.answered: Counter[tuple[str, str, int]] = Counter()

    def count(self, exchange: Exchange) -> None:
        """An HTTP request is over."""
        self.answered[exchange.method, exchange.handler, exchange.status] += 1
        if exchange.error is not None:
            self.errors[exchange.error] += 1

    def served(self, times: RequestTimes | None, seconds: float, prompt_tokens: int, tokens: int) -> None:
        """A sequence ran to its end, `seconds` after its request arrived."""
        self.e2e_request_latency.observe(seconds)
        self.request_prompt_tokens.observe(prompt_tokens)
        self.request_generation_tokens.observe(tokens)
        if times is None:
            return
        first = times.first_token or times.finished
        self.request_queue_time.observe(max(0.0, times.scheduled - times.arrival))
        self.request_prefill_time.observe(max(0.0, first - times.scheduled))
        self.request_decode_time.observe(max(0.0, times.finished - first))
        self.request_inference_time.observe(max(0.0, times.finished - times.scheduled))
        if tokens > 1:
            self.request_time_per_output_token.observe(max(0.0, times.finished - first) / (tokens - 1))

    def decoded(self, steps: RequestSteps) -> None:
        """A sequence was decoded in these steps."""
        if steps.forwards:
            self.request_tokens_per_forward.observe(steps.committed / steps.forwards)
        if steps.draft_tokens:
            self.request_acceptance_rate.observe(max(0, steps.committed - steps.forwards) / steps.draft_tokens)

    def _add_times(self) -> None:
        self.time_to_first_token = self._histogram(
            "time_to_first_token_seconds", "Seconds from a request's arrival to its first token.", FIRST_TOKEN_BOUNDS
        )
        self.inter_token_latency = self._histogram(
            "inter_token_latency_seconds",
            "Seconds per token after the first; tokens of one step share the time since the last step.",
            BETWEEN_TOKENS_BOUNDS,
        )
        self.request_time_per_output_token = self._histogram(
            "request_time_per_output_token_seconds",
            "Mean seconds per token of a request after its first.",
            BETWEEN_TOKENS_BOUNDS,
        )
        self.e2e_request_latency = self._histogram(
            "e2e_request_latency_seconds", "Seconds from a request's arrival to its last token.", REQUEST_BOUNDS
        )
        self.request_queue_time = self._histogram(
            "request_queue_time_seconds", "Seconds a request waited before its first forward.", PHASE_BOUNDS
        )
        self.request_prefill_time = self._histogram(
            "request_prefill_time_seconds", "Seconds from a request's first forward to its first token.", PHASE_BOUNDS
        )
        self.request_decode_time = self._histogram(
            "request_decode_time_seconds", "Seconds from a request's first token to its last.", PHASE_BOUNDS
        )
        self.request_inference_time = self._histogram(
            "request_inference_time_seconds", "Seconds from a request's first forward to its last token.", PHASE_BOUNDS
        )

    def _add_sizes(self) -> None:
        self.request_prompt_tokens = self._histogram("request_prompt_tokens", "Tokens of a prompt.", TOKEN_BOUNDS)
        self.request_generation_tokens = self._histogram(
            "request_generation_tokens", "Tokens generated for a request.", TOKEN_BOUNDS
        )
        self.request_params_max_tokens = self._histogram(
            "request_params_max_tokens", "Most tokens that a request let in may generate.", TOKEN_BOUNDS
        )
        self.request_params_n = self._histogram(
            "request_params_n", "Choices per prompt of a request let in.", CHOICE_BOUNDS
        )
        self.request_tokens_per_forward = self._histogram(
            "request_tokens_per_forward", "Tokens committed per decode forward of a request (T/NFE).", FORWARD_BOUNDS
        )
        self.request_acceptance_rate = self._histogram(
            "request_acceptance_rate", "Share of a request's draft tokens, d_0 left out, accepted.", SHARE_BOUNDS
        )

    def _histogram(self, name: str, help_text: str, bounds: tuple[float, ...]) -> Histogram:
        histogram = Histogram(f"tidar:{name}", help_text, bounds)
        self.histograms.append(histogram)
        return histogram
