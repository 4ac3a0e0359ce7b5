"""`python -m bench.soak`: thousands of mixed requests against a real server, and what is left of them afterwards.

    python -m bench.soak --requests 20000 --seconds 1800 --json soak.json

Every kind of request in bench.load.mix, at more than the server can run at once. Ends after so many requests or
seconds. The exit code is 1 where a request got what it should not, or where memory grew or pages stayed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.load.client import BROKE, LEFT, Outcome, ask, make_client, run_client
from bench.load.figures import machine, percentiles, trend
from bench.load.mix import mixed
from bench.load.processes import Served, served

#: the share of the run after which memory has to stand still
WARM = 0.4
#: how much of its size a process may seem to grow by from there on, as memory is measured in a busy process
GROWTH = 0.03
#: the share of the requests after which the engine is killed, if it is to be
KILL_AT = 0.1
SAMPLE_SECONDS = 1.0
#: nobody is sent away for the length of the queue; what is kept is so little that it is full after the warm-up
FLAGS = ("--max-queue-seconds", "0", "--max-stored-responses", "50", "--kv-cache-memory-bytes", str(48 * 2**20))
EXAMPLES = 10


@dataclass
class Soak:
    """What one run saw. Times are seconds since its beginning."""

    outcomes: list[Outcome] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0
    killed: float | None = None
    victim: int = 0
    back: float | None = None
    left_over: dict[str, float] = field(default_factory=dict)

    def injected(self, index: int) -> bool:
        """Whether this outcome falls into the time without an engine, and says so properly."""
        outcome, end = self.outcomes[index], self.ends[index]
        if self.killed is None or outcome.status == BROKE:
            return False
        back = self.seconds if self.back is None else self.back
        return end >= self.killed and end - outcome.seconds <= back

    def wrong(self) -> list[Outcome]:
        """Outcomes that should not have been."""
        return [outcome for i, outcome in enumerate(self.outcomes) if not _expected(outcome) and not self.injected(i)]


def _expected(outcome: Outcome) -> bool:
    if outcome.kind == "aborted":
        return outcome.status in (LEFT, 200)
    if outcome.kind in ("malformed", "over-long"):
        return outcome.status == 400 and outcome.error is None
    return outcome.answered


async def soak(server: Served, requests: int, seconds: float, concurrency: int, kill: bool, seed: int) -> Soak:
    """Run until so many requests have been sent or so many seconds have passed, and wait for the answers."""
    run, began = Soak(), time.monotonic()
    async with make_client(server.url, concurrency) as client:
        async with client.get("/v1/models") as answer:
            context = (await answer.json())["data"][0]["max_model_len"]
        numbers = iter(range(requests))

        async def worker(name: int) -> None:
            chance = random.Random(f"{seed} {name}")
            for number in numbers:
                if time.monotonic() - began > seconds:
                    return
                if kill and number == int(requests * KILL_AT):
                    run.killed = time.monotonic() - began
                    run.victim = server.engine_pids()[0]
                    os.kill(run.victim, signal.SIGKILL)
                outcome = await ask(client, mixed(chance, context))
                run.outcomes.append(outcome)
                run.ends.append(time.monotonic() - began)
                if outcome.status == 503:
                    await _until_back(run, float(outcome.retry_after or 0))

        async with _watched(server, run, began):
            await asyncio.gather(*(worker(name) for name in range(concurrency)))
            run.seconds = time.monotonic() - began
        run.left_over = await _left_over(client)
    return run


async def _until_back(run: Soak, seconds: float) -> None:
    """Stay away as long as one was told to, and while there is no engine."""
    await asyncio.sleep(seconds)
    while run.killed is not None and run.back is None:
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _watched(server: Served, run: Soak, began: float) -> AsyncIterator[None]:
    """Meanwhile, look at memory and, after a kill, for the engine's return."""

    async def watch() -> None:
        async with make_client(server.url, 1) as client:
            while True:
                now = time.monotonic() - began
                for name, size in server.resident().items():
                    run.memory[name].append((now, size))
                while run.killed is not None and run.back is None:
                    await asyncio.sleep(0.05)
                    # the server may not have noticed yet, and call itself healthy; then there is no other engine
                    if set(server.engine_pids()) - {run.victim} and await _status(client) == 200:
                        run.back = time.monotonic() - began
                await asyncio.sleep(SAMPLE_SECONDS)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _status(client: aiohttp.ClientSession) -> int:
    try:
        async with client.get("/health") as answer:
            return answer.status
    except aiohttp.ClientError:
        return BROKE


async def _left_over(client: aiohttp.ClientSession) -> dict[str, float]:
    """What the server still holds once everybody has gone; it has a few seconds to notice."""
    held: dict[str, float] = {}
    for _ in range(50):
        async with client.get("/metrics") as answer:
            text = await answer.text()
        names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
        held = {name: sum(_samples(text, f"tidar:{name}")) for name in names}
        async with client.get("/load") as answer:
            held["in_flight"] = (await answer.json())["server_load"]
        if not any(held.values()):
            break
        await asyncio.sleep(0.2)
    return held


def _samples(text: str, name: str) -> list[float]:
    return [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]


def report(run: Soak) -> dict[str, Any]:
    """Figures of a run, ready for JSON; `problems` is empty where all went well."""
    statuses = Counter(outcome.status for outcome in run.outcomes)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in run.outcomes:
        kinds[outcome.kind][str(outcome.status)] += 1
    calm = [outcome for i, outcome in enumerate(run.outcomes) if not run.injected(i)]
    injected = [outcome for i, outcome in enumerate(run.outcomes) if run.injected(i)]
    warm = {name: [p for p in points if p[0] > WARM * run.seconds] for name, points in run.memory.items()}
    memory = {name: trend(points) for name, points in warm.items()}
    return {
        **machine(),
        "requests": len(run.outcomes),
        "seconds": round(run.seconds, 1),
        "requests_per_second": round(len(run.outcomes) / max(run.seconds, 1e-9), 2),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "kinds": {kind: dict(counts) for kind, counts in sorted(kinds.items())},
        "injected_failures": sum(o.status >= 500 or o.error is not None for o in injected),
        "recovery_seconds": None if run.killed is None or run.back is None else round(run.back - run.killed, 2),
        "time_to_first_token": percentiles([o.first for o in calm if o.answered and o.first is not None]),
        "request_seconds": percentiles([o.seconds for o in calm if o.answered]),
        "memory": memory,
        "left_over": run.left_over,
        "problems": problems(run, memory),
    }


def problems(run: Soak, memory: dict[str, dict[str, float] | None]) -> list[str]:
    """What should not have been, in sentences."""
    wrong = run.wrong()
    found = [f"A request of kind {o.kind} ended with {o.status}: {o.error}." for o in wrong[:EXAMPLES]]
    if len(wrong) > EXAMPLES:
        found.append(f"So did {len(wrong) - EXAMPLES} more.")
    found += [
        f"The {name} process grew by {line['change_mib']} MiB."
        for name, line in memory.items()
        if line is not None and line["change_mib"] > GROWTH * line["mean_mib"]
    ]
    found += [f"{name} is {value} with nobody there." for name, value in run.left_over.items() if value]
    if run.killed is not None and run.back is None:
        found.append("The engine did not come back.")
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Mixed requests against a real server.")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=1800.0, help="no request is sent after so long")
    parser.add_argument("--concurrency", type=int, default=96, help="clients at once; the server runs 64 sequences")
    parser.add_argument("--model", default=None, help="model folder; the shipped model if left out")
    parser.add_argument("--no-kill", action="store_true", help="leave the engine process alive")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, help="write the report here too")
    given = parser.parse_args(arguments)
    with served(*([given.model] if given.model else []), *FLAGS) as server:
        run = run_client(soak(server, given.requests, given.seconds, given.concurrency, not given.no_kill, given.seed))
    said = json.dumps(report(run), indent=1)
    print(said)
    if given.json is not None:
        given.json.write_text(said + "\n")
    return 1 if report(run)["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
