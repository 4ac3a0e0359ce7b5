"""When things happened to one sequence, as its client saw them."""

from __future__ import annotations

import time

from engine.messages import Output, RequestSteps, RequestTimes
from server.metrics import ServerMetrics
from server.protocol.usage import RequestMetrics


class Timeline:
    """Follows a sequence from the door to its last token and tells the server's metrics. Times are seconds."""

    def __init__(self, metrics: ServerMetrics, arrived: float) -> None:
        self._metrics = metrics
        self._arrived = arrived
        self._first = 0.0
        self._last = 0.0
        self._tokens = 0
        self._times: RequestTimes | None = None
        self.steps: RequestSteps | None = None
        self._finished = False

    def tokens(self, count: int) -> None:
        """`count` tokens have just arrived together; the time since the last ones is shared among them."""
        if not count:
            return
        now = time.monotonic()
        if not self._tokens:
            self._first = now
            self._metrics.time_to_first_token.observe(now - self._arrived)
        else:
            self._metrics.inter_token_latency.observe((now - self._last) / count, count)
        self._tokens += count
        self._last = now

    def finish(self, reason: str, output: Output | None = None) -> None:
        """The sequence has ended for `reason`: stop, length, abort or error. Only the first call counts."""
        if self._finished:
            return
        self._finished = True
        if output is not None:
            self._times, self.steps = output.times, output.steps
        self._metrics.finished[reason] += 1
        if reason in ("stop", "length"):
            self._metrics.e2e_request_latency.observe(time.monotonic() - self._arrived)
            self._metrics.request_queue_time.observe(self._queue_time)

    @property
    def _queue_time(self) -> float:
        return max(0.0, self._times.scheduled - self._times.arrival) if self._times else 0.0

    def report(self) -> RequestMetrics:
        """The finished sequence's figures, for a client that asked for them."""
        steps = self.steps or RequestSteps(0, 0, [], 0, 0)
        decoding = self._last - self._first
        latency = decoding / (self._tokens - 1) if self._tokens > 1 else None
        elapsed = max(self._last - self._arrived, 1e-9)
        return RequestMetrics(
            queue_time=self._queue_time,
            time_to_first_token=max(0.0, self._first - self._arrived),
            inter_token_latency=latency,
            e2e_latency=elapsed,
            tokens_per_second=self._tokens / elapsed,
            tokens_per_forward=steps.committed / steps.forwards if steps.forwards else None,
            decode_forwards=steps.forwards,
            acceptance_lengths=steps.acceptance_lengths,
            preemptions=steps.preemptions,
        )
