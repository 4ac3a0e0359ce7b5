"""Drafts are the same whether they are sampled with the target rows or after them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import mask_drafts
from engine.engine import Engine
from engine.messages import Submit
from engine.window import Window
from tests.engine.drive import make_engine, request, run

SETTINGS = {"full": "full", "one group": "1", "no group": "none"}


def drafts_and_head_calls(engine: Engine, submits: list[Submit]) -> tuple[list[list[list[int]]], int]:
    """Every running sequence's drafts after every step, and how often the head was called."""
    seen: list[list[list[int]]] = []
    calls = 0
    logits = engine.runner.logits

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return logits(*args)

    engine.runner.logits = counted  # type: ignore[method-assign]
    run(engine, submits, lambda engine: seen.append([list(s.drafts) for s in engine.scheduler.running]))
    return seen, calls


def submits(**params: Any) -> list[Submit]:
    return [request(str(i), [5 + i, 6, 7, 8][: 2 + i % 3], max_tokens=30, seed=i, **params) for i in range(5)]


@pytest.mark.parametrize("predrafts", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("params", [{}, {"temperature": 0.8, "top_p": 0.9}], ids=["greedy", "sampled"])
def test_early_drafts_are_those_of_a_second_call(
    learned: Path, predrafts: str, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    early, calls = drafts_and_head_calls(make_engine(learned, predrafts=predrafts), submits(**params))
    monkeypatch.setattr(mask_drafts.MaskDrafts, "early", lambda self, windows: {})
    late, more_calls = drafts_and_head_calls(make_engine(learned, predrafts=predrafts), submits(**params))
    assert early == late
    assert calls < more_calls


def test_where_the_head_is_dear_only_drafts_that_are_sure_are_early(
    learned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask_drafts, "FREE_PRODUCTS", 0)
    engine = make_engine(learned, draft_length=4, predrafts="full")
    found = []
    early = engine.mask_drafts.early

    def noted(windows: list[Window]) -> dict[int, Any]:
        rows = early(windows)
        found.append((sum(window.drafted for window in windows), len(rows)))
        return rows

    engine.mask_drafts.early = noted  # type: ignore[method-assign]
    run(engine, [request("0", [5, 6, 7], max_tokens=30, ignore_eos=True)])
    assert {rows for drafted, rows in found if not drafted} >= {3}
    assert {rows for drafted, rows in found if drafted} == {0}


@pytest.mark.parametrize("params", [{"repetition_penalty": 1.3}, {"logit_bias": {5: 2.0}}])
def test_drafts_that_depend_on_the_token_before_them_wait_for_it(learned: Path, params: dict[str, Any]) -> None:
    engine = make_engine(learned, predrafts="full")
    window_of = engine.scheduler.schedule
    engine.submit(request("0", [5, 6, 7], **params))
    windows = window_of(engine.policy.choose_each(engine.scheduler.load(), 64, []))
    assert windows[0].shape.predrafts
    assert engine.mask_drafts.early(windows) == {}
