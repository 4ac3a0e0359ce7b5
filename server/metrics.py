"""What the server itself measures; names, where the meaning is the same, are vLLM's."""

from __future__ import annotations

from collections import Counter

from server.histogram import Histogram

FINISH_REASONS = ("stop", "length", "abort", "error")

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
QUEUE_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class ServerMetrics:
    """Request histograms and the count of finished sequences by reason. One engine sequence counts as one request."""

    def __init__(self) -> None:
        self.time_to_first_token = Histogram(
            "tidar:time_to_first_token_seconds",
            "Seconds from a request's arrival to its first token.",
            FIRST_TOKEN_BOUNDS,
        )
        self.inter_token_latency = Histogram(
            "tidar:inter_token_latency_seconds",
            "Seconds per token after the first; tokens of one step share the time since the last step.",
            BETWEEN_TOKENS_BOUNDS,
        )
        self.e2e_request_latency = Histogram(
            "tidar:e2e_request_latency_seconds", "Seconds from a request's arrival to its last token.", REQUEST_BOUNDS
        )
        self.request_queue_time = Histogram(
            "tidar:request_queue_time_seconds", "Seconds a request waited before its first forward.", QUEUE_BOUNDS
        )
        self.finished: Counter[str] = Counter(dict.fromkeys(FINISH_REASONS, 0))

    @property
    def histograms(self) -> tuple[Histogram, ...]:
        return (
            self.time_to_first_token,
            self.inter_token_latency,
            self.e2e_request_latency,
            self.request_queue_time,
        )
