"""`python -m bench.overload`: the most that a server gets done, and what it still gets done at four times that load.

First so many clients that the server is always full, each sending its next request when it has its answer; then
requests that arrive at random, at `--factor` times the rate reached, whatever becomes of them. Goodput counts answers
within `--deadline` seconds. The exit code is 1 below 90 % of the peak, or where a refusal is late or says not when to
come again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import aiohttp

from bench.load.client import Outcome, ask, make_client, run_client
from bench.load.figures import machine, percentiles
from bench.load.mix import COMPLETIONS, Ask
from bench.load.processes import served

#: what overload may cost
LEAST = 0.9
#: the longest that a refusal may take, in seconds
REFUSAL_SECONDS = 0.1
REFUSED = (429, 503)
#: the first seconds of each part do not count
WARM_SECONDS = 5.0
MAX_CONNECTIONS = 4096


class Part:
    """One part of the run: outcomes with the moments at which they came, in seconds since it began."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began = time.monotonic()
        self.outcomes: list[tuple[float, Outcome]] = []

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    @property
    def over(self) -> bool:
        return self.now > self.seconds + WARM_SECONDS

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append((self.now, outcome))

    @property
    def counted(self) -> list[Outcome]:
        """What ended after the warm-up and before the end."""
        return [outcome for end, outcome in self.outcomes if WARM_SECONDS < end <= self.seconds + WARM_SECONDS]

    def goodput(self, deadline: float) -> float:
        """Answers in time, per second."""
        return sum(o.answered and o.seconds <= deadline for o in self.counted) / self.seconds


def request(chance: random.Random, tokens: int) -> Ask:
    prompt = [chance.randint(4, 900) for _ in range(16)]
    return Ask("overload", COMPLETIONS, {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True})


async def saturate(client: aiohttp.ClientSession, seconds: float, clients: int, tokens: int) -> Part:
    """So many clients, each with one request at a time."""
    part, chance = Part(seconds), random.Random(1)

    async def one() -> None:
        while not part.over:
            part.add(await ask(client, request(chance, tokens)))

    await asyncio.gather(*(one() for _ in range(clients)))
    return part


async def flood(client: aiohttp.ClientSession, seconds: float, rate: float, tokens: int) -> Part:
    """Requests at random moments, so many per second, whatever becomes of those before."""
    part, chance = Part(seconds), random.Random(2)
    asking: set[asyncio.Task[None]] = set()

    async def one() -> None:
        part.add(await ask(client, request(chance, tokens)))

    due = 0.0
    while not part.over:
        due += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, due - part.now))
        task = asyncio.create_task(one())
        asking.add(task)
        task.add_done_callback(asking.discard)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    return part


async def measure(
    url: str, seconds: float, clients: int, tokens: int, factor: float, deadline: float, rounds: int = 1
) -> dict[str, Any]:
    """Both parts in turn, so many times; figures ready for JSON, `problems` empty where overload does what it should.

    Rates are means over the rounds, which a machine that changes its pace changes for both parts.
    """
    full, over = [], []
    async with make_client(url, MAX_CONNECTIONS) as client:
        for _ in range(rounds):
            full.append(await saturate(client, seconds, clients, tokens))
            peak = fmean(part.goodput(deadline) for part in full)
            over.append(await flood(client, seconds, factor * peak, tokens))
    goodput = fmean(part.goodput(deadline) for part in over)
    at_peak, flooded = ([o for part in parts for o in part.counted] for parts in (full, over))
    refused = [o for o in flooded if o.status in REFUSED]
    found = {
        **machine(),
        "rounds": rounds,
        "peak_per_second": round(peak, 2),
        "offered_per_second": round(factor * peak, 2),
        "goodput_per_second": round(goodput, 2),
        "goodput_over_peak": round(goodput / max(peak, 1e-9), 3),
        "goodput_over_peak_by_round": [
            round(o.goodput(deadline) / max(f.goodput(deadline), 1e-9), 3) for f, o in zip(full, over, strict=True)
        ],
        "peak_request_seconds": percentiles([o.seconds for o in at_peak if o.answered]),
        "request_seconds": percentiles([o.seconds for o in flooded if o.answered]),
        "refused": len(refused),
        "refusal_seconds": percentiles([o.seconds for o in refused]),
        "refused_within_100_ms": round(sum(o.seconds <= REFUSAL_SECONDS for o in refused) / max(1, len(refused)), 4),
        "statuses": {str(status): count for status, count in sorted(Counter(o.status for o in flooded).items())},
    }
    return {**found, "problems": problems(found, refused)}


def problems(found: dict[str, Any], refused: list[Outcome]) -> list[str]:
    said = []
    if found["goodput_over_peak"] < LEAST:
        said.append(f"Goodput fell to {found['goodput_over_peak']:.0%} of the peak.")
    if not refused:
        said.append("Nobody was refused.")
    elif found["refused_within_100_ms"] < 0.99:
        said.append(f"Only {found['refused_within_100_ms']:.1%} of the refusals came within 100 ms.")
    said += ["A refusal came without Retry-After."] if any(o.retry_after is None for o in refused) else []
    odd = set(found["statuses"]) - {"200", "429", "503"}
    return said + [f"Requests ended with {status}." for status in sorted(odd)]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description="Goodput at several times capacity.")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each part of a round")
    parser.add_argument("--rounds", type=int, default=5, help="of filling the server, then flooding it")
    parser.add_argument("--factor", type=float, default=4.0, help="offered load, in peaks")
    parser.add_argument("--tokens", type=int, default=96, help="of each answer")
    parser.add_argument("--deadline", type=float, default=20.0, help="seconds after which an answer is worth nothing")
    parser.add_argument("--max-num-seqs", type=int, default=32)
    parser.add_argument("--max-queue-seconds", type=float, default=3.0)
    parser.add_argument("--model", default=None, help="model folder; the shipped model if left out")
    parser.add_argument("--json", type=Path, default=None, help="write the report here too")
    given = parser.parse_args(arguments)
    flags = ["--max-num-seqs", str(given.max_num_seqs), "--max-queue-seconds", str(given.max_queue_seconds)]
    with served(*([given.model] if given.model else []), *flags) as server:
        clients = given.max_num_seqs + given.max_num_seqs // 4
        load = (given.seconds, clients, given.tokens, given.factor, given.deadline, given.rounds)
        found = run_client(measure(server.url, *load))
    said = json.dumps(found, indent=1)
    print(said)
    if given.json is not None:
        given.json.write_text(said + "\n")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
