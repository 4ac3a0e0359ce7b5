"""End to end: tokens per second over HTTP from a server on random weights, acceptance forced to a given rate."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch

import models
from bench.gpu.figures import Served
from bench.gpu.running import Setting
from bench.gpu.shapes import MODELS, random_decoder
from bench.gpu.timing import Budget
from engine.config import EngineConfig
from models.checkpoint import save_decoder

#: any tokenizer will do, since prompts and lengths are given in tokens
TOKENIZER = Path(models.__file__).parent / "shipped" / "tidar-python-5m"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
#: how long a server may take to come up, and a completion to come, in seconds
UP_SECONDS, ANSWER_SECONDS = 90.0, 60.0


@contextmanager
def saved(name: str, dtype: torch.dtype, device: torch.device) -> Iterator[Path]:
    """A folder with random weights of the model's shape, as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="tidar-bench-") as folder:
        save_decoder(random_decoder(MODELS[name], dtype, device), Path(folder), dtype)
        for file in TOKENIZER_FILES:
            shutil.copy(TOKENIZER / file, folder)
        yield Path(folder)


def measure_http(
    name: str,
    folder: Path,
    device: torch.device,
    settings: list[Setting],
    batches: list[int],
    rates: list[float],
    context: int,
    tokens: int,
    budget: Budget,
) -> list[Served]:
    """One server per setting and rate; each concurrency sends as many requests as it has in flight."""
    results: list[Served] = []
    for setting in settings:
        for rate in rates if setting.k > 1 else rates[:1]:
            if budget.spent:
                return results
            config = _config(folder, device, setting, rate, max(batches), context + tokens)
            with serving(config) as url:
                for batch in batches:
                    seconds, generated = complete(url, batch, context, tokens)
                    results.append(Served(name, setting.label, batch, context, rate, generated / seconds))
    return results


@contextmanager
def serving(config: EngineConfig) -> Iterator[str]:
    """A server in a process of its own. Raises RuntimeError where it does not come up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "bench.gpu.served", msgspec.json.encode(config).decode(), str(port)]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stderr=said, stdout=said)
        try:
            url = f"http://127.0.0.1:{port}"
            if not _comes_up(process, url):
                said.seek(0)
                raise RuntimeError(f"the server did not come up: {said.read()[-500:]}")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def complete(url: str, concurrency: int, context: int, tokens: int) -> tuple[float, int]:
    """So many requests at once, after a short one that does not count; seconds, and tokens generated."""
    _ask(url, [5] * context, 4)
    prompts = [[5 + i % 50] * context for i in range(concurrency)]
    started = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as threads:
        counts = list(threads.map(lambda prompt: _ask(url, prompt, tokens), prompts))
    return time.perf_counter() - started, sum(counts)


def _ask(url: str, prompt: list[int], tokens: int) -> int:
    body = {"model": "random", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
        answer: dict[str, Any] = json.load(response)
    return int(answer["usage"]["completion_tokens"])


def _comes_up(process: subprocess.Popen[bytes], url: str) -> bool:
    end = time.monotonic() + UP_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def _config(
    folder: Path, device: torch.device, setting: Setting, rate: float, sequences: int, longest: int
) -> EngineConfig:
    return EngineConfig(
        model=str(folder),
        device=device.type,
        decoding="ar" if setting.k == 1 else "tidar",
        draft_length=setting.k,
        predrafts=str(setting.groups),
        max_num_seqs=sequences,
        max_model_len=longest + 1,
        max_num_batched_tokens=2048,
        async_scheduling=True,
        synthetic_acceptance=rate if setting.k > 1 else None,
    )
