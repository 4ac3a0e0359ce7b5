"""What the engine tells the policy of a sequence's drafts, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.engine import Engine
from engine.policy.auto import AutoPolicy
from engine.policy.cost import StepCost
from engine.policy.outlook import Hint
from engine.window import Window
from tests.engine.drive import make_engine, request, run
from tests.engine.workload import prompts

#: steps at which rows are neither free nor dear
COST = StepCost([1, 64], [1.0, 5.0])


def auto_engine(folder: Path, **settings: object) -> tuple[Engine, AutoPolicy]:
    """An engine whose policy knows steps by COST alone."""
    engine = make_engine(folder, predrafts="auto", draft_length=4, **settings)
    policy = engine.policy
    assert isinstance(policy, AutoPolicy)
    policy.cost = COST
    policy.cost.observe = lambda *_: None  # type: ignore[method-assign]
    return engine, policy


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_hints_are_the_probabilities_of_the_drafts_and_of_the_token_before_them(
    learned: Path, temperature: float
) -> None:
    engine = auto_engine(learned)[0]
    seen: list[tuple[Hint, list[float]]] = []
    sample, logits = engine._sample, engine.runner.logits
    rows: list[torch.Tensor] = []

    def keep_logits(hidden: torch.Tensor, flat: list[int]) -> torch.Tensor:
        rows.append(logits(hidden, flat))
        return rows[-1]

    def begin(*args: object) -> object:
        rows.clear()
        return sample(*args)  # type: ignore[arg-type]

    def each_step(engine: Engine) -> None:
        for sequence in engine.scheduler.running:
            hint = sequence.record.hint
            if hint is None or len(rows) < 2:
                continue
            targets, drafts = (each.softmax(-1) for each in rows)
            of_drafts = [float(p[token]) for p, token in zip(drafts, sequence.drafts, strict=True)]
            assert hint.of_drafts == pytest.approx(of_drafts)
            assert any(float(p[sequence.tokens[-1]]) == pytest.approx(hint.of_next) for p in targets)
            seen.append((hint, of_drafts))

    engine.runner.logits = keep_logits  # type: ignore[method-assign]
    engine._sample = begin  # type: ignore[method-assign, assignment]
    run(engine, [request("one", [7, 8, 9], temperature=temperature, seed=3, max_tokens=40, ignore_eos=True)], each_step)
    assert len(seen) > 5


def test_windows_are_refined_and_no_token_changes(learned: Path) -> None:
    asked = [request(f"r{i}", prompt, max_tokens=40, ignore_eos=True) for i, prompt in enumerate(prompts(6))]
    expected = {name: done.token_ids for name, done in run(make_engine(learned, decoding="ar"), asked).items()}
    engine = auto_engine(learned, max_num_seqs=2)[0]
    planned: list[Window] = []
    schedule = engine.scheduler.schedule

    def note(choice: object) -> list[Window]:
        windows = schedule(choice)  # type: ignore[arg-type]
        planned.extend(windows)
        return windows

    engine.scheduler.schedule = note  # type: ignore[method-assign]
    assert {name: done.token_ids for name, done in run(engine, asked).items()} == expected
    shapes = {(w.drafted, w.shape.predrafts) for w in planned if w.decodes}
    assert len(shapes) > 4, f"windows came in these shapes only: {shapes}"


def test_without_a_gain_hints_are_not_asked_for(learned: Path) -> None:
    engine, policy = auto_engine(learned)
    for apart in (True, False):
        policy.refinement.comparison._now_apart = apart
        policy.refinement.comparison.observe(policy.refinement.comparison.turns.few, 2.0 if apart else 1.0)
    assert policy.refinement.comparison.paused
    hints: list[object] = []

    def each_step(engine: Engine) -> None:
        hints.extend(s.record.hint for s in engine.scheduler.running if s.record.hint is not None)

    run(engine, [request("one", [7, 8, 9], max_tokens=40, ignore_eos=True)], each_step)
    assert not hints
