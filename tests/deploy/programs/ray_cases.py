"""Runs the Ray Serve application on a local Ray and reports as JSON: python ray_cases.py MODEL PORT FOLDER."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import serve

from deploy.ray_serve import Arguments, build

MODEL, PORT = sys.argv[1], int(sys.argv[2])
URL = f"http://127.0.0.1:{PORT}"
LONG = {"prompt": "def f(", "max_tokens": 240, "ignore_eos": True, "temperature": 1.0}
SAMPLED = {"max_tokens": 24, "ignore_eos": True, "temperature": 100.0, "return_token_ids": True}


def post(body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{URL}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.load(answer))


def together(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers to requests that are all in flight at once; a failure is {"failed": ...}."""
    answers: list[dict[str, Any]] = [{}] * len(bodies)

    def ask(index: int) -> None:
        try:
            answers[index] = post(bodies[index])
        except OSError as error:
            answers[index] = {"failed": str(error)}

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def stream() -> list[str]:
    body = json.dumps({**SAMPLED, "prompt": "x", "seed": 1, "stream": True}).encode()
    request = urllib.request.Request(f"{URL}/v1/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return [line.decode().strip() for line in answer if line.startswith(b"data: ")]


def running() -> int:
    [deployment] = serve.status().applications["tidar"].deployments.values()
    return int(deployment.replica_states.get("RUNNING", 0))


def engines() -> list[int]:
    """Engine processes of the model, wherever they hang below Ray's."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"engine.process" in command and any(MODEL.encode() in part for part in command):
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return False


def main() -> dict[str, Any]:
    arguments = Arguments(
        model=MODEL,
        engine={"dtype": "float64", "decoding": "tidar", "predrafts": "full", "threads": 1},
        num_cpus=1,
        min_replicas=1,
        max_replicas=2,
        target_ongoing_requests=2,
        upscale_delay_s=0,
    )
    serve.run(build(arguments), name="tidar", route_prefix="/")
    seen: dict[str, Any] = {"replicas_at_first": running(), "engines_at_first": len(engines())}
    stop = threading.Event()

    def press() -> None:
        while not stop.is_set():
            together([LONG] * 12)

    pressing = threading.Thread(target=press)
    pressing.start()
    seen["scaled"] = wait_until(lambda: running() == 2 and len(engines()) == 2, 120)
    stop.set()
    pressing.join()
    bodies = [{**SAMPLED, "prompt": [5 + index] * (index + 3), "seed": index} for index in range(12)]
    seen["token_ids"] = [answer["choices"][0]["token_ids"] for answer in together(bodies)]
    seen["stream"] = stream()
    with urllib.request.urlopen(f"{URL}/health/ready", timeout=30) as answer:
        seen["ready"] = answer.status
    victims = engines()
    os.kill(victims[0], 9)
    seen["after_a_death"] = [answer.get("failed", "") for answer in together(bodies)]
    seen["engines_came_back"] = wait_until(lambda: len(engines()) == 2 and victims[0] not in engines(), 60)
    serve.delete("tidar")
    seen["engines_left"] = not wait_until(lambda: not engines(), 30)
    return seen


if __name__ == "__main__":
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
        _temp_dir=sys.argv[3],
        _system_config={"local_fs_capacity_threshold": 0.999},
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": PORT})
        report = main()
    finally:
        serve.shutdown()
        ray.shutdown()
    print(json.dumps(report))
