"""The GPU benchmark's own arithmetic, budget and files, on a CPU and a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench.gpu.__main__ import main
from bench.gpu.fidelity import measure_fidelity
from bench.gpu.rig import Rig
from bench.gpu.roofline import Ceilings, step_work
from bench.gpu.running import Setting, run_loop
from bench.gpu.shapes import MODELS, QWEN3_8B, QWEN25_1_5B, TINY
from bench.gpu.steps import cases
from bench.gpu.timing import Budget, seconds_of
from engine.resident.synthetic import accept_at_random
from engine.window import WindowShape
from models.decoder import Decoder

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "least", "most"), [("Qwen2.5-1.5B", 1.5e9, 1.6e9), ("Qwen3-8B", 8.1e9, 8.3e9)])
def test_the_shapes_have_the_parameters_of_their_names(name: str, least: float, most: float) -> None:
    with torch.device("meta"):
        decoder = Decoder(MODELS[name])
    assert least < sum(parameter.numel() for parameter in decoder.parameters()) < most


def test_an_autoregressive_step_reads_every_weight_but_the_embedding_once() -> None:
    for config in (QWEN25_1_5B, QWEN3_8B):
        with torch.device("meta"):
            decoder = Decoder(config)
        matrices = sum(p.numel() for p in decoder.parameters() if p.dim() == 2)
        embedding = 0 if config.tie_embeddings else decoder.embed.weight.numel()
        work = step_work(config, WindowShape(1), 1, 0, 2)
        cached = 2 * 2 * config.kv_size * config.num_layers
        assert work.bytes == 2 * (matrices - embedding) + cached
        assert work.flops >= 2 * (matrices - embedding)


def test_prefixes_and_a_second_pass_over_the_head_cost_bytes() -> None:
    full = WindowShape(8, tuple(range(1, 9)), 8)
    alone, behind = (step_work(QWEN3_8B, full, 1, context, 2).bytes for context in (0, 1024))
    assert behind - alone == 1024 * 147456
    head = 2 * QWEN3_8B.vocab_size * QWEN3_8B.hidden_size
    two = step_work(QWEN3_8B, full, 2, 0, 2).bytes
    assert two - alone - head == 8 * 147456


def test_the_floor_is_the_larger_of_reading_and_computing() -> None:
    work = step_work(TINY, WindowShape(1), 1, 10, 4)
    assert work.floor(Ceilings(bandwidth=1.0, flops=1e30)) == work.bytes
    assert work.floor(Ceilings(bandwidth=1e30, flops=1.0)) == work.flops


def test_autoregression_comes_before_what_is_compared_with_it() -> None:
    seen = set()
    for case in cases([4, 8], [1, 2], [16, 32]):
        if case.label == "AR":
            seen.add((case.batch, case.context))
        assert (case.batch, case.context) in seen
    assert len(seen) == 4


def test_a_section_gets_its_share_of_what_is_left() -> None:
    now = 0.0
    budget = Budget(100.0, clock=lambda: now)
    budget.begin(0.5)
    now = 49.0
    assert not budget.spent
    now = 50.0
    assert budget.spent
    budget.begin(0.5)
    now = 74.0
    assert not budget.spent
    now = 75.0
    assert budget.spent


def test_one_call_is_timed_after_a_first_that_does_not_count() -> None:
    calls = 0

    def work() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            torch.randn(300, 300).pinverse()

    assert 0 < seconds_of(work, CPU) < 0.01
    assert calls >= 5


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_forced_acceptance_has_the_rate_that_was_asked_for(rate: float) -> None:
    torch.manual_seed(0)
    candidates = torch.zeros(4000, 3, dtype=torch.int64)
    accepted = accept_at_random(rate)(candidates, torch.ones(4000, 3, dtype=torch.int64)).double()
    assert float(accepted.mean()) == pytest.approx(1 + rate + rate**2, abs=0.05)
    candidates[:, 1:] = -1
    assert (accept_at_random(rate)(candidates, candidates) == 1).all()


def test_the_loop_commits_what_the_forced_rate_promises() -> None:
    torch.manual_seed(0)
    rig = Rig(TINY, CPU, torch.float32, batch=2, context=32, draft=4)
    sure = run_loop("tiny", rig, Setting(4, 4), 2, 32, 1.0, None)
    assert sure.tokens_per_forward > 3.5
    assert run_loop("tiny", rig, Setting(4, 4), 2, 32, 0.0, None).tokens_per_forward == pytest.approx(1.0)
    assert run_loop("tiny", rig, Setting(1, 0), 1, 32, None, None).tokens_per_forward == pytest.approx(1.0)


def test_the_logits_of_a_prompt_are_those_of_transformers_but_for_rounding() -> None:
    torch.manual_seed(0)
    found = measure_fidelity("tiny", TINY, CPU, torch.float32)
    assert 0 < found.ours < 2 * found.transformers < 1e-5


def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not torch.cuda.is_available():
        assert main(["--json", str(tmp_path / "x.json")]) == 2
        assert "torch finds none" in capsys.readouterr().err
    assert main(["--json", str(tmp_path / "x.json"), "--device", "cpu"]) == 2
    assert "--tiny" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


@pytest.mark.slow
def test_a_tiny_run_writes_every_figure_and_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", str(tmp_path / "x.json"), "--device", "cpu", "--tiny", "--seconds", "60"]) == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert "not how fast" in found["machine"]["note"]
    assert found["failed"] == []
    assert {step["label"] for step in found["steps"]} >= {"AR", "k=4 full"}
    for step in found["steps"]:
        assert step["ratio_to_floor"] == pytest.approx(step["eager"] / step["floor"])
    assert found["fidelity"] and found["host_gaps"] and found["forced_acceptance"] and found["transformers"]
    assert {served["label"] for served in found["http"]} == {"AR", "k=4 full"}
    assert "Step times" in capsys.readouterr().out
