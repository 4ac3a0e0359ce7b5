"""What the engine tells the policy of a sequence's drafts, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.engine import Engine
from engine.policy.auto import AutoPolicy
from engine.policy.comparison import Comparison
from engine.policy.outlook import Hint
from engine.policy.refinement import TURNS
from tests.engine.drive import make_refining_engine, request, run


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_hints_are_the_probabilities_of_the_drafts_and_of_the_token_before_them(
    learned: Path, temperature: float
) -> None:
    engine = make_refining_engine(learned, draft_length=4)
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


def hints_noted(engine: Engine) -> int:
    """Steps after which a sequence had hints, over one request."""
    noted = 0

    def each_step(engine: Engine) -> None:
        nonlocal noted
        noted += any(s.record.hint is not None for s in engine.scheduler.running)

    run(engine, [request("one", [7, 8, 9], max_tokens=40, ignore_eos=True)], each_step)
    return noted


def test_without_a_gain_hints_are_not_asked_for(learned: Path) -> None:
    engine = make_refining_engine(learned, draft_length=4)
    assert hints_noted(engine) > 5
    policy = engine.policy
    assert isinstance(policy, AutoPolicy)
    policy.refinement.comparison = comparison = Comparison(TURNS)
    for apart in (True, False):
        comparison._now_apart = apart
        comparison.observe(TURNS.few, 2.0 if apart else 1.0)
    assert hints_noted(engine) == 0


def test_short_steps_leave_no_time_for_hints(learned: Path) -> None:
    engine = make_refining_engine(learned, draft_length=4)
    policy = engine.policy
    assert isinstance(policy, AutoPolicy)
    policy.cost.seconds = [seconds * 1e-3 for seconds in policy.cost.seconds]
    assert hints_noted(engine) == 0
