"""What happens when something breaks: one row per fault. The tests assert it, docs/operations.md shows it.

`python -m tests.faults.rows` prints the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from tests.server.test_errors import error_of


@dataclass(frozen=True)
class Row:
    """One fault. `status`, `code` and `says` are of the error that affected requests get; `status` None: they get none.

    `health` and `ready` are the statuses of /health and /health/ready while it lasts.
    """

    happens: str
    status: int | None
    code: str | None
    says: str
    health: int
    ready: int
    recovery: str
    lost: str

    def check(self, answer: httpx.Response) -> None:
        """Assert that a request that has not begun to stream got this row's error."""
        assert self.status is not None
        self.check_object(error_of(answer, self.status))
        if self.status in (429, 503):
            assert int(answer.headers["retry-after"]) >= 1

    def check_object(self, error: dict[str, Any]) -> None:
        """Assert that this is the row's error, mid-stream too."""
        assert error["code"] == self.code
        assert self.says in error["message"]

    def markdown(self) -> str:
        sees = "nothing" if self.status is None else f"{self.status} `{self.code}`: “…{self.says}…”"
        return f"| {self.happens} | {sees} | {self.health} / {self.ready} | {self.recovery} | {self.lost} |"


HEADER = (
    "| what happens | what affected clients get | `/health` / `/health/ready` meanwhile | recovery | what is lost |\n"
    "|---|---|---|---|---|"
)
RESTART = "another engine takes over by itself"
IN_FLIGHT = "the failed engine's requests in flight"

KILLED = Row(
    "the engine process is killed (also: by the system, out of memory)",
    500, "engine_error", "The engine process died; the request was lost, send it again", 503, 503, RESTART, IN_FLIGHT,
)  # fmt: skip
RESTARTING = Row(
    "a request comes while there is no engine",
    503, "engine_restarting", "The engine is being restarted", 503, 503,
    "`Retry-After` says when to ask again", "nothing",
)  # fmt: skip
HUNG = Row(
    "the engine hangs for `--engine-timeout` (60 s)",
    500, "engine_error", "The engine process hung and was replaced; the request was lost", 200, 503,
    f"it is killed; {RESTART}", IN_FLIGHT,
)  # fmt: skip
CUDA_ERROR = Row(
    "a step raises, as after a CUDA error",
    500, "engine_error", "The engine process died; the request was lost, send it again", 503, 503, RESTART, IN_FLIGHT,
)  # fmt: skip
CUDA_MEMORY = Row(
    "a step finds too little GPU memory",
    None, None, "", 200, 200, "the next step is smaller; the youngest requests wait and are recomputed", "nothing",
)  # fmt: skip
HOST_MEMORY = Row(
    "the engine can allocate no more host memory",
    500, "engine_error", "send", 200, 200,
    "the next step is smaller, and nobody notices; where that is not enough, " + RESTART,
    "at worst " + IN_FLIGHT,
)  # fmt: skip
NAN = Row(
    "logits are not numbers",
    500, "engine_error", "not numbers", 200, 200, "none needed", "that request alone; its pages are not reused",
)  # fmt: skip
FULL = Row(
    "the queue is full (`--max-waiting`)",
    429, "queue_full", "The queue is full", 200, 200, "`Retry-After`, from the pace of late", "nothing",
)  # fmt: skip
TOO_LONG = Row(
    "the queue would take longer than `--max-queue-seconds` (30 s)",
    429, "queue_full", "longer than", 200, 200, "`Retry-After`, from the pace of late", "nothing",
)  # fmt: skip
SLOW = Row(
    "a client reads nothing of its stream for `--client-timeout` (60 s)",
    None, None, "", 200, 200, "its connection is closed, its pages are freed", "its request",
)  # fmt: skip
GONE = Row(
    "a client vanishes",
    None, None, "", 200, 200, "its sequences are aborted within a step", "its request",
)  # fmt: skip
STOPPING = Row(
    "SIGTERM or Ctrl-C under load",
    503, "shutting_down", "The server is shutting down", 200, 503,
    "requests in flight have `--shutdown-timeout` (30 s) to finish; exit code 0", "what does not finish in time",
)  # fmt: skip
CLOCK = Row(
    "the wall clock jumps, either way",
    None, None, "", 200, 200, "none needed: durations come from the monotonic clock", "nothing",
)  # fmt: skip
DISK = Row(
    "the disk is full when a model is fetched",
    None, None, "", 200, 200,
    "`tidar pull` says so in one sentence, exit code 1; nothing half-written stays", "nothing",
)  # fmt: skip

ROWS = (
    KILLED, RESTARTING, HUNG, CUDA_ERROR, CUDA_MEMORY, HOST_MEMORY, NAN,
    FULL, TOO_LONG, SLOW, GONE, STOPPING, CLOCK, DISK,
)  # fmt: skip


def table() -> str:
    return "\n".join([HEADER, *(row.markdown() for row in ROWS)])


if __name__ == "__main__":
    print(table())
