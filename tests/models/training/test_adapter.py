"""Training an adapter: what it sees, that it learns and resumes, and that what it exports drafts in the engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models.adapter import storage
from models.adapter.config import AdapterConfig
from models.checkpoint import load_decoder
from models.decoder import Decoder
from models.errors import ModelError
from models.training.adapter.answers import Answer, read_answers
from models.training.adapter.evaluate import evaluate, measure_adapter
from models.training.adapter.loop import AdapterRun, export_adapter, read_state, train_adapter
from models.training.adapter.objective import NOTHING, Blocks, every, mask_hidden
from models.training.adapter.settings import AdapterTraining
from models.training.block_mask import BlockLayout, DoubledAttention
from models.training.schedule import Budget, Schedule
from tests.engine.adapters import save_random_adapter
from tests.engine.drive import acceptance, make_engine, run, tokens
from tests.engine.drive import request as ask
from tests.engine.tiny import VOCAB, counting, save_counting, save_random


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AR model that has learnt to count."""
    return save_counting(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """What it says to 60 prompts, the last 10 of which nobody trains on."""
    prompts = counting(60, 4, torch.Generator().manual_seed(5)).tolist()
    engine = make_engine(base)
    said = run(engine, [ask(f"{i}", p, max_tokens=24, ignore_eos=True) for i, p in enumerate(prompts)])
    lines = [json.dumps({"prompt": p, "answer": said[f"{i}"].token_ids}) for i, p in enumerate(prompts)]
    folder = tmp_path_factory.mktemp("answers")
    (folder / "train.jsonl").write_text("\n".join(lines[:50]) + "\n")
    (folder / "held_out.jsonl").write_text("\n".join(lines[50:]) + "\n")
    return folder


def settings(base: Path, answers: Path, output: Path, masks: int) -> AdapterTraining:
    return AdapterTraining(
        model=base,
        answers=answers / "train.jsonl",
        held_out=answers / "held_out.jsonl",
        output=output,
        rank=8,
        batch_answers=4,
        budget=Budget(tokens=masks),
        schedule=Schedule(5, 0.5),
        lr=1e-2,
        up_rate=1.0,
    )


def adapted(base: Path, folder: Path) -> Decoder:
    decoder = load_decoder(base, torch.float64)
    storage.apply(decoder, storage.read_tensors(AdapterConfig.read(folder), decoder))
    return decoder


def test_blocks_see_what_windows_of_the_engine_see(tmp_path: Path) -> None:
    """Against the doubled sequence of plain TiDAR training, on a model whose adapter changes masks only."""
    base = save_random(tmp_path / "base", "LlamaForCausalLM", drafts=False)
    decoder = adapted(base, save_random_adapter(tmp_path / "adapter", base))
    text = torch.randint(3, VOCAB, (24,), generator=torch.Generator().manual_seed(1)).tolist()
    answer = Answer(text[:8], text[8:])
    # blocks at 8, 12, 16, 20, among others that must not be seen
    blocks = Blocks([answer], [every(2, 0, answer)], 4)
    hidden = mask_hidden(decoder, blocks)[::2].flatten(0, 1)
    masks = [VOCAB + place for _ in range(6) for place in range(4)]
    rows = decoder(torch.tensor(text + masks), torch.arange(24).repeat(2), DoubledAttention(1, BlockLayout(24, 4)))
    torch.testing.assert_close(hidden, rows[24 + 8 :])


def test_labels_end_with_the_answer() -> None:
    answer = Answer([5, 6], [7, 8, 9])
    starts = every(1, 0, answer)
    assert starts.tolist() == [2, 3]
    assert Blocks([answer], [starts], 3).labels().tolist() == [[7, 8, 9], [8, 9, NOTHING]]
    assert every(2, 1, answer).tolist() == [3]


def test_it_learns_and_what_it_exports_drafts_for_the_engine(base: Path, answers: Path, tmp_path: Path) -> None:
    config = settings(base, answers, tmp_path / "run", masks=30_000)
    before = AdapterRun(config).evaluation()
    export_adapter(train_adapter(config), tmp_path / "adapter")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    assert losses[-1] < 0.5 * losses[0]
    after = measure_adapter(base, tmp_path / "adapter", answers / "held_out.jsonl", [2, 4])
    assert before.tokens_per_forward < 1.3
    assert 1.5 < after[2]["tokens_per_forward"] <= 2 < after[4]["tokens_per_forward"]

    asked = [ask(f"{i}", [i, i + 1, i + 2], max_tokens=24, ignore_eos=True) for i in range(10, 20)]
    plain = make_engine(base)
    engine = make_engine(base, adapter=str(tmp_path / "adapter"), predrafts="full")
    assert tokens(run(engine, asked)) == tokens(run(plain, asked))
    assert acceptance(plain) == 1.0
    assert acceptance(engine) > 1.5


def test_the_walk_counts_what_the_engine_commits(base: Path, answers: Path, tmp_path: Path) -> None:
    """Teacher-forced tokens per forward are those of decoding with all groups, to the last forward."""
    adapter = save_random_adapter(tmp_path, base)
    held_out = read_answers(answers / "held_out.jsonl", VOCAB, 128)
    engine = make_engine(base, adapter=str(adapter), predrafts="full")
    run(engine, [ask(f"{i}", a.prompt, max_tokens=len(a.answer), ignore_eos=True) for i, a in enumerate(held_out)])
    stats = engine.stats()
    worth = evaluate(adapted(base, adapter), held_out, 4)
    assert worth.tokens == stats.committed_tokens
    assert worth.tokens_per_forward == pytest.approx(stats.committed_tokens / stats.decode_forwards)


def test_a_stopped_run_goes_on_where_it_was(base: Path, answers: Path, tmp_path: Path) -> None:
    config = settings(base, answers, tmp_path, masks=100_000)
    first = AdapterRun(config)
    for _ in range(3):
        first.step()
    first.save()
    second = AdapterRun(config)
    assert (second.steps, second.rows) == (3, first.rows)
    for name, parameter in first.parameters.items():
        assert second.parameters[name].equal(parameter)
    assert read_state(tmp_path / "checkpoint.pt")["steps"] == 3


def test_the_base_stays_as_it_was(base: Path, answers: Path, tmp_path: Path) -> None:
    trained = AdapterRun(settings(base, answers, tmp_path, masks=100_000))
    before = {name: p.clone() for name, p in trained.decoder.named_parameters() if not p.requires_grad}
    for _ in range(2):
        trained.step()
    after = dict(trained.decoder.named_parameters())
    assert len(before) > 10
    assert all(after[name].equal(parameter) for name, parameter in before.items())


def test_a_line_that_is_still_being_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"prompt": [3], "answer": [4, 5]}\n{"prompt": [3], "ans')
    assert read_answers(path, VOCAB, 128) == [Answer([3], [4, 5])]


BAD_LINES = ["[]", "{", '{"prompt": [3]}', '{"prompt": [3], "answer": [64]}', '{"prompt": 3, "answer": []}']


@pytest.mark.parametrize("line", BAD_LINES)
def test_answers_of_another_kind_are_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ModelError, match="Line 1 of"):
        read_answers(path, VOCAB, 128)
