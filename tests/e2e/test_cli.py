"""The `tidar` command, as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import server.run
from engine.config import EngineConfig
from server.cli import app
from server.settings import ServerSettings
from tests.server.live import ROOT, LiveServer

Started = tuple[EngineConfig, ServerSettings]


def tidar(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server.cli", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Started]:
    """What `tidar serve` would have started."""
    calls: list[Started] = []

    def record(config: EngineConfig, settings: ServerSettings) -> int:
        calls.append((config, settings))
        return 0

    monkeypatch.setattr(server.run, "run_server", record)
    return calls


def test_serve_without_a_model_serves_the_shipped_one(started: list[Started]) -> None:
    assert CliRunner().invoke(app, ["serve"]).exit_code == 0
    config, settings = started[0]
    assert Path(config.model).name == "tidar-python-5m"
    assert Path(config.model).is_dir()
    assert settings.model_names == ("tidar-python-5m",)
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)


def test_every_flag_reaches_its_setting(started: list[Started], tmp_path: Path) -> None:
    flags = "--host 0.0.0.0 --port 9 --decoding ar --draft-length 8 --predrafts 2 --max-model-len 100 --max-num-seqs 3"
    flags += " --max-num-batched-tokens 64 --page-size 8 --num-pages 77 --dtype float64 --device cpu --seed 5"
    flags += " --adapter drafts --attention-backend torch --gpu-memory-utilization 0.7 --draft-lora lora"
    flags += " --no-enable-prefix-caching --threads 2 --max-waiting 4 --kv-cache-memory-bytes 1000000"
    flags += " --api-key a --api-key b --served-model-name m --shutdown-timeout 3 --stream-interval 2 --keep-alive 1"
    assert CliRunner().invoke(app, ["serve", str(tmp_path), *flags.split()]).exit_code == 0
    config, settings = started[0]
    assert config == EngineConfig(
        model=str(tmp_path),
        adapter="drafts",
        decoding="ar",
        draft_lora="lora",
        draft_length=8,
        predrafts="2",
        max_model_len=100,
        max_num_seqs=3,
        max_num_batched_tokens=64,
        page_size=8,
        num_pages=77,
        kv_cache_memory=1000000,
        gpu_memory_utilization=0.7,
        enable_prefix_caching=False,
        dtype="float64",
        device="cpu",
        attention_backend="torch",
        seed=5,
        threads=2,
        max_waiting=4,
    )
    assert settings.model_names == ("m",)
    assert settings.api_keys == ("a", "b")
    assert (settings.host, settings.port, settings.shutdown_timeout) == ("0.0.0.0", 9, 3.0)
    assert (settings.stream_interval, settings.keep_alive) == (2, 1.0)


def test_keys_come_from_the_environment_too(started: list[Started], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDAR_API_KEY", "key-one key-two")
    assert CliRunner().invoke(app, ["serve"]).exit_code == 0
    assert started[0][1].api_keys == ("key-one", "key-two")
    assert "key-one" not in repr(started[0][1])


@pytest.mark.parametrize("text", [None, "# no key\n\n"])
def test_a_key_file_without_keys_is_refused(started: list[Started], tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "keys"
    if text is not None:
        file.write_text(text)
    assert CliRunner().invoke(app, ["serve", "--api-key-file", str(file)]).exit_code == 2
    assert not started


def test_the_banner_says_what_is_served(server: LiveServer) -> None:
    for said in ("tiny-tidar", "k = 4", "float64", "256 tokens", "pages", server.url):
        assert said in server.log


def test_the_api_process_does_not_import_torch() -> None:
    code = "import sys, server.app, server.run, server.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_generate_prints_the_text_and_the_figures(served_model: Path) -> None:
    done = tidar("generate", "def f(", "--model", str(served_model), "--max-tokens", "12", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("def f(")
    assert "tokens/s" in done.stderr
    assert "T/NFE" in done.stderr


@pytest.mark.parametrize(("arguments", "said"), [(["x" * 5000], "context"), (["x", "--model", "/nowhere"], "nowhere")])
def test_generate_says_why_it_cannot(served_model: Path, arguments: list[str], said: str) -> None:
    flags = [] if "--model" in arguments else ["--model", str(served_model)]
    done = tidar("generate", *arguments, *flags, "--threads", "1")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_bench_measures_and_writes_json(served_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    flags = ["--num-prompts", "2", "--max-tokens", "8", "--repetitions", "1", "--threads", "1", "--json", str(file)]
    done = tidar("bench", "throughput", str(served_model), "--concurrency", "2", *flags)
    assert done.returncode == 0, done.stderr
    assert json.loads(file.read_text())


@pytest.mark.parametrize(
    "command",
    [[], ["serve"], ["chat"], ["doctor"], ["generate"], ["bench", "latency"], ["bench", "throughput"], ["train"]],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    done = tidar(*command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
