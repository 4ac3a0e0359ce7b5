"""When things happened to one sequence, as its client saw them."""

from __future__ import annotations

import time

from engine.messages import Output, RequestSteps, RequestTimes
from server.metrics import ServerMetrics
from server.protocol.usage import RequestMetrics


class Timeline:
    """Follows a sequence from the door to its last token and tells the server's metrics. Times are seconds.

    `reason` is why it ended; `times` and `steps` are the engine's own account, once it has given one.
    """

    def __init__(self, metrics: ServerMetrics, arrived: float, prompt_tokens: int) -> None:
        self._metrics = metrics
        self._prompt_tokens = prompt_tokens
        self._arrived = arrived
        self._first = 0.0
        self._last = 0.0
        self._tokens = 0
        self.times: RequestTimes | None = None
        self.steps: RequestSteps | None = None
        self.reason: str | None = None

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
        if self.reason is not None:
            return
        self.reason = reason
        if output is not None:
            self.times, self.steps = output.times, output.steps
        self._metrics.finished[reason] += 1
        if reason in ("stop", "length"):
            seconds = time.monotonic() - self._arrived
            self._metrics.served(self.times, seconds, self._prompt_tokens, self._tokens)
            if self.steps is not None:
                self._metrics.decoded(self.steps)

    @property
    def queue_time(self) -> float | None:
        """Seconds before the first forward, once the engine has told."""
        if self.times is None or not self.times.scheduled:
            return None
        return max(0.0, self.times.scheduled - self.times.arrival)

    @property
    def time_to_first_token(self) -> float | None:
        return max(0.0, self._first - self._arrived) if self._tokens else None

    @property
    def inter_token_latency(self) -> float | None:
        """Mean seconds per token after the first."""
        return (self._last - self._first) / (self._tokens - 1) if self._tokens > 1 else None

    def report(self) -> RequestMetrics:
        """The finished sequence's figures, for a client that asked for them."""
        steps = self.steps or RequestSteps(0, 0, [], 0, 0)
        elapsed = max(self._last - self._arrived, 1e-9)
        return RequestMetrics(
            queue_time=self.queue_time or 0.0,
            time_to_first_token=self.time_to_first_token or 0.0,
            inter_token_latency=self.inter_token_latency,
            e2e_latency=elapsed,
            tokens_per_second=self._tokens / elapsed,
            tokens_per_forward=steps.committed / steps.forwards if steps.forwards else None,
            decode_forwards=steps.forwards,
            acceptance_lengths=steps.acceptance_lengths,
            preemptions=steps.preemptions,
        )
