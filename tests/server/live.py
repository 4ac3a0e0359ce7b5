"""A real `tidar serve` in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
START_SECONDS = 90.0
#: gauges that are zero when nothing is held
LOAD = ("tidar:num_requests_running", "tidar:num_requests_waiting", "tidar:kv_cache_usage_perc")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LiveServer:
    """Use as a context manager: ready on entry, gone on exit. `log` is what it printed."""

    def __init__(self, model: Path, *flags: str, env: dict[str, str] | None = None, **client: Any) -> None:
        """`flags` go to `tidar serve`, `client` to the httpx client."""
        self.model = model
        self.port = free_port()
        self.url = f"http{'s' if '--ssl-certfile' in flags else ''}://127.0.0.1:{self.port}"
        self._log = model.parent / f"serve-{self.port}.log"
        self._command = [sys.executable, "-m", "server.cli", "serve", str(model), "--port", str(self.port)]
        self._command += ["--threads", "1", "--dtype", "float64", *flags]
        self._env = {**os.environ, **(env or {})}
        self.client = httpx.Client(base_url=self.url, timeout=60, **client)

    def __enter__(self) -> LiveServer:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        self.wait_until(lambda: self.get("/health").status_code == 200, START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.client.post(path, json=body, **options)

    def complete(self, **fields: Any) -> dict[str, Any]:
        """A completion that has to succeed."""
        answer = self.post("/v1/completions", fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def chat(self, **fields: Any) -> dict[str, Any]:
        """A chat completion that has to succeed."""
        answer = self.post("/v1/chat/completions", fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def metrics(self) -> dict[str, float]:
        """Samples by name, labels other than the model's name and the engine's number included; engines add up."""
        samples: dict[str, float] = {}
        for line in self.get("/metrics").text.splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                name = _without_labels(name, "model_name", "engine")
                samples[name] = samples.get(name, 0.0) + float(value)
        return samples

    def of_engines(self, name: str) -> list[float]:
        """One figure of every engine, in order."""
        lines = [line for line in self.get("/metrics").text.splitlines() if line.startswith(name + "{")]
        return [float(line.rsplit(" ", 1)[1]) for line in lines]

    def engine_pid(self) -> int:
        return self._only(self.engine_pids())

    def engine_pids(self) -> list[int]:
        """The engine processes, the oldest first."""
        return self._child_pids(checks_grammars=False)

    def grammar_pid(self) -> int:
        """The process that compiles grammars, once one was asked for."""
        return self._only(self._child_pids(checks_grammars=True))

    def _child_pids(self, checks_grammars: bool) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [
            int(child)
            for child in children
            if (b"engine.grammar.checking" in Path(f"/proc/{child}/cmdline").read_bytes()) is checks_grammars
        ]

    @staticmethod
    def _only(pids: list[int]) -> int:
        assert len(pids) == 1, pids
        return pids[0]

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def wait_until(self, condition: Any, seconds: float) -> None:
        """Poll until `condition` holds. Fails with the server's log when it does not in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server has ended:\n{self.log}"
            try:
                if condition():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not reached within {seconds} s:\n{self.log}")

    def wait_until_idle(self, seconds: float = 5.0) -> None:
        """Until nothing runs or waits and every page is free."""

        def idle() -> bool:
            samples = self.metrics()
            return not any(samples[name] for name in LOAD)

        self.wait_until(idle, seconds)


def _without_labels(name: str, *labels: str) -> str:
    head, _, given = name.partition("{")
    kept = [label for label in given.rstrip("}").split(",") if label and label.partition("=")[0] not in labels]
    return f"{head}{{{','.join(kept)}}}" if kept else head
