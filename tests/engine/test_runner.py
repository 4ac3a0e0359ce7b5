"""A forward leaves out what nobody reads: the end of prompts' rows that choose no token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.engine import Engine
from engine.messages import Submit
from engine.runner import MANY_IDLE
from engine.window import Window
from tests.engine.drive import make_engine, request, run

PROMPT = [3 + i % 7 for i in range(3 * MANY_IDLE)]


def first_hidden(engine: Engine, submits: list[Submit]) -> tuple[list[Window], torch.Tensor]:
    """The windows of the first step, and their hidden states."""
    for submit in submits:
        engine.submit(submit)
    windows = engine.scheduler.schedule(engine.policy.choose_each(engine.scheduler.load(), 512, []))
    return windows, engine.runner.forward(windows)


def test_of_a_prompt_the_rows_that_choose_or_draft_are_finished(learned: Path) -> None:
    engine = make_engine(learned, predrafts="full")
    [window], hidden = first_hidden(engine, [request("0", PROMPT)])
    read = {*window.targets, *range(window.shape.clean, window.shape.rows)}
    assert window.shape.predrafts and len(read) < window.shape.rows
    assert {int(row) for row in hidden.any(-1).nonzero()} == read


def test_a_prompt_that_wants_its_logprobs_is_finished_beside_one_that_does_not(learned: Path) -> None:
    engine = make_engine(learned, decoding="ar")
    windows, hidden = first_hidden(engine, [request("0", PROMPT, prompt_logprobs=1), request("1", PROMPT[1:])])
    finished = [hidden[window.start : window.start + window.shape.rows].any(-1).sum() for window in windows]
    wanted = {window.sequence.request_id: int(count) for window, count in zip(windows, finished, strict=True)}
    assert wanted == {"0": len(PROMPT), "1": 1}


@pytest.mark.parametrize("settings", [{"decoding": "ar"}, {"predrafts": "full"}, {"max_num_batched_tokens": 20}])
def test_answers_and_prompt_logprobs_are_those_of_whole_forwards(learned: Path, settings: dict[str, Any]) -> None:
    submits = [request(str(i), PROMPT[i:], max_tokens=9, prompt_logprobs=2 if i % 2 else None) for i in range(4)]
    said = []
    for narrows in (True, False):
        engine = make_engine(learned, **settings)
        assert engine.runner.narrows
        engine.runner.narrows = narrows
        done = run(engine, submits)
        said.append([(done[s.request_id].token_ids, done[s.request_id].prompt_logprobs) for s in submits])
    assert said[0] == said[1]


def test_a_drafter_reads_every_row(without_drafts: Path) -> None:
    engine = make_engine(without_drafts, decoding="ngram", predrafts="none")
    assert not engine.runner.narrows
