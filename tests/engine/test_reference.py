"""The engine against the reference: the same tokens, acceptance lengths and drafts, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.engine import Engine
from engine.messages import Submit
from models.checkpoint import load_decoder
from tests.engine.drive import make_engine, request
from tests.engine.reference import Reference, Step
from tests.engine.tiny import MASK
from tests.engine.workload import prompts

LENGTH = 30

SAMPLING: dict[str, dict[str, Any]] = {
    "greedy": {},
    "seeded": {"temperature": 0.8, "top_p": 0.95, "seed": 5},
    "penalised": {"temperature": 0.6, "presence_penalty": 0.7, "repetition_penalty": 1.2, "seed": 6},
}


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize(("k", "predrafts"), [(2, "full"), (4, "full"), (8, "full"), (4, "none")])
def test_every_step_is_the_references_step(learned: Path, k: int, predrafts: str, sampling: str) -> None:
    decoder = load_decoder(learned, torch.float64)
    groups = tuple(range(1, k + 1)) if predrafts == "full" else ()
    lengths = set()
    for index, prompt in enumerate(prompts(8, longest=20, seed=k)):
        asked = request(f"{index}", prompt, max_tokens=LENGTH, ignore_eos=True, **SAMPLING[sampling])
        engine = make_engine(learned, decoding="tidar", draft_length=k, predrafts=predrafts, page_size=4)
        expected = Reference(decoder, MASK, asked, asked.params.seed or 0, k, groups).steps(LENGTH)
        assert observed_steps(engine, asked) == as_far_as_wanted(expected, k)
        lengths |= {step.accepted for step in expected[1:]}
    assert min(lengths) == 1 and max(lengths) > k // 2, "the prompts hardly ever had a draft accepted"


def observed_steps(engine: Engine, asked: Submit) -> list[Step]:
    """What each step of a lone request published, and the drafts it left behind."""
    engine.submit(asked)
    steps = []
    while engine.has_work:
        (output,) = engine.step()
        drafts = [sequence.drafts for sequence in engine.scheduler]
        steps.append(Step(output.token_ids, drafts[0] if drafts else []))
    return steps


def as_far_as_wanted(steps: list[Step], k: int) -> list[Step]:
    """The reference runs on past the last token that was asked for; the engine neither commits nor drafts there."""
    told = []
    left = LENGTH
    for step in steps:
        tokens = step.tokens[:left]
        left -= len(tokens)
        told.append(Step(tokens, step.drafts if left > 1 else []))
    return told
