"""A step that raises: what can be done again is, what cannot costs the engine process and its requests in flight."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults import injection, rows
from tests.faults.injection import Injection
from tests.server.live import LiveServer
from tests.server.sse import read_events, stream

pytestmark = pytest.mark.slow

LONG: dict[str, Any] = {"prompt": "def f(", "max_tokens": 240, "ignore_eos": True, "temperature": 1.0, "n": 8}
EXACT: dict[str, Any] = {"prompt": [5, 6, 7], "max_tokens": 60, "ignore_eos": True, "temperature": 100.0, "seed": 3}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Injection:
    return Injection(tmp_path_factory.mktemp("injected"), injection.STEP)


@pytest.fixture(scope="module")
def server(served_model: Path, faulty: Injection) -> Iterator[LiveServer]:
    # large tensors come from the system each time, which can be told to give no more
    environment = {**faulty.environment, "MALLOC_MMAP_THRESHOLD_": "16384"}
    with LiveServer(served_model, "--decoding", "tidar", env=environment) as live:
        yield live


def test_after_a_cuda_error_clients_are_told_and_another_engine_takes_over(
    server: LiveServer, faulty: Injection
) -> None:
    pid = server.engine_pid()
    waiting: list[httpx.Response] = []
    whole = threading.Thread(target=lambda: waiting.append(server.post("/v1/completions", LONG)))
    with server.client.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        whole.start()
        server.wait_until(lambda: server.get("/load").json()["server_load"] > 8, 20)
        faulty.strike("cuda")
        rows.CUDA_ERROR.check_object(list(read_events(lines))[-1]["error"])
    whole.join()
    rows.CUDA_ERROR.check(waiting[0])
    assert "illegal memory access" in server.log
    server.wait_until(lambda: server.get("/health/ready").status_code == 200, 90)
    assert server.engine_pid() != pid
    assert server.complete(**EXACT)
    server.wait_until_idle()


def test_when_gpu_memory_runs_out_in_a_step_nobody_notices(server: LiveServer, faulty: Injection) -> None:
    pid = server.engine_pid()
    undisturbed = server.complete(**EXACT)["choices"][0]["text"]
    neighbours = threading.Thread(target=lambda: server.complete(**LONG))
    neighbours.start()
    faulty.strike("memory")
    chunks = stream(f"{server.url}/v1/completions", EXACT)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == undisturbed
    neighbours.join()
    assert faulty.struck
    assert server.get("/health").status_code == rows.CUDA_MEMORY.health
    assert server.get("/health/ready").status_code == rows.CUDA_MEMORY.ready
    assert server.engine_pid() == pid
    assert "ran out of memory" in server.log
    server.wait_until_idle()


def test_an_engine_without_host_memory_takes_smaller_steps_or_is_replaced(server: LiveServer) -> None:
    """Which of the two depends on what asks for memory first; nothing comes out that is not right."""
    big = {"prompt": [9] * 200, "max_tokens": 1, "prompt_logprobs": 5, "temperature": 0}
    expected = server.complete(**big)["choices"]
    pid, said = server.engine_pid(), server.log.count("ran out of memory")
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (used, before[1]))
    try:
        answer = server.post("/v1/completions", big)
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_AS, before)
    if answer.status_code == 200:
        assert _ranks(answer.json()["choices"]) == _ranks(expected)
        assert server.log.count("ran out of memory") > said
    else:
        rows.HOST_MEMORY.check(answer)
    server.wait_until(lambda: server.get("/health/ready").status_code == rows.HOST_MEMORY.ready, 90)
    assert _ranks(server.complete(**big)["choices"]) == _ranks(expected)
    server.wait_until_idle()


def _ranks(choices: list[dict[str, Any]]) -> list[list[str]]:
    """The candidates at each position of the prompt, in order of their rank, and the text."""
    places = [place for place in choices[0]["prompt_logprobs"] if place is not None]
    return [sorted(place, key=lambda token: place[token]["rank"]) for place in places] + [[choices[0]["text"]]]
