"""A training run: learns, stops, goes on exactly where it was, and leaves a model that others load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from models.checkpoint import load_decoder
from models.errors import ModelError
from models.training.block_mask import CausalAttention
from models.training.data import copy_tokenizer
from models.training.loop import Run, export_model, train
from models.training.schedule import Budget, Schedule
from models.training.settings import ModelShape, TrainConfig
from tests.models.training.tiny import SHAPE, data_folder, random_data, tiny_run

CONSTANT = Schedule(warmup_steps=2, decay=0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_data(tmp_path_factory.mktemp("data"))


def losses(output: Path) -> list[tuple[int, Any, Any]]:
    entries = [json.loads(line) for line in (output / "log.jsonl").open()]
    return [(e["step"], e["loss_ar"], e.get("loss_diffusion")) for e in entries if "loss_ar" in e]


@pytest.mark.parametrize("objective", ["ar", "tidar"])
def test_a_resumed_run_repeats_the_losses_of_an_unbroken_one_bit_for_bit(
    data: Path, tmp_path: Path, objective: Any
) -> None:
    def steps(count: int, output: str) -> TrainConfig:
        return tiny_run(data, tmp_path / output, 64 * count, objective=objective, target="both", schedule=CONSTANT)

    train(steps(6, "whole"))
    train(steps(3, "broken"))
    train(steps(6, "broken"))
    assert [step for step, _, _ in losses(tmp_path / "broken")] == [1, 2, 3, 4, 5, 6]
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    one, other = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=False)["decoder"] for name in ("whole", "broken")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_both_losses_fall_on_a_repeating_pattern_and_the_drafts_come_to_agree(tmp_path: Path) -> None:
    pattern = np.tile(np.array([10, 20, 30, 40, 50]), 2000)
    data = data_folder(tmp_path / "data", pattern, pattern)
    config = tiny_run(data, tmp_path / "run", 60 * 256, batch_tokens=256, target="both", length=64, lr=1e-2)
    before = Run(config).evaluation()
    train(config)
    first, last = losses(config.output)[0], losses(config.output)[-1]
    assert last[1] < first[1] / 2 and last[2] < first[2] / 2
    entries = [json.loads(line) for line in (config.output / "log.jsonl").open()]
    after = entries[-1]["evaluation"]
    assert before.tokens_per_forward < 1.5 < 3.5 < after["tokens_per_forward"] <= 4.0
    assert min(after["agreement"][1:]) > 0.9 and after["loss_ar"] < before.loss_ar


def test_the_last_share_of_the_budget_runs_at_the_long_length(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tiny_run(data, tmp_path, 64 * 4, long_share=0.5))
    batch, seen = run.train_tokens.batch, []

    def spy(index: int, size: int, length: int, seed: int) -> torch.Tensor:
        seen.append((size, length))
        return batch(index, size, length, seed)

    monkeypatch.setattr(run.train_tokens, "batch", spy)
    while run.progress() < 1:
        run.step()
    assert seen == [(2, 32), (2, 32), (1, 64), (1, 64)]


def test_an_ar_checkpoint_gives_its_weights_to_a_tidar_run_but_not_its_state(data: Path, tmp_path: Path) -> None:
    source = train(tiny_run(data, tmp_path / "ar", 128, objective="ar"))
    run = Run(tiny_run(data, tmp_path / "tidar", 128, init_from=source))
    taken = torch.load(source, weights_only=False)["decoder"]
    assert all(torch.equal(tensor, taken[name]) for name, tensor in run.decoder.state_dict().items())
    assert (run.steps, run.tokens) == (0, 0)


def test_a_checkpoint_of_another_shape_is_a_clear_error(data: Path, tmp_path: Path) -> None:
    source = train(tiny_run(data, tmp_path / "ar", 64, objective="ar"))
    wider = ModelShape(**{**SHAPE.__dict__, "hidden_size": 64})
    with pytest.raises(ModelError, match="have another shape than the model to be trained"):
        Run(tiny_run(data, tmp_path / "tidar", 64, shape=wider, init_from=source))


def test_without_data_or_checkpoint_the_error_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="run `tidar train data` first"):
        train(TrainConfig(data=tmp_path, output=tmp_path / "run", budget=Budget(tokens=1)))
    with pytest.raises(ModelError, match="There is no checkpoint at"):
        export_model(tmp_path / "checkpoint.pt", tmp_path)


def test_an_exported_model_loads_here_and_in_transformers_with_the_same_logits(data: Path, tmp_path: Path) -> None:
    run = Run(tiny_run(data, tmp_path / "run", 64 * 3, lr=5e-2))
    while run.progress() < 1:
        run.step()
    run.save()
    folder = tmp_path / "model"
    copy_tokenizer(data, folder)
    export_model(run.path, folder, torch.float32)
    ids = torch.randint(4, 1024, (20,), generator=torch.Generator().manual_seed(0))
    ours = load_decoder(folder, torch.float32)
    logits = ours.logits(ours(ids, torch.arange(20), CausalAttention(1, 20)))
    trained = run.forward.logits(ids, torch.arange(20), CausalAttention(1, 20))
    torch.testing.assert_close(logits, trained, rtol=0, atol=1e-5)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.testing.assert_close(logits, theirs(ids[None]).logits[0], rtol=0, atol=1e-4)
    assert ours.config.draft is not None and ours.config.draft.mask_token_id == 1
    assert set(ours.config.eos_token_ids) == {0, 3}
