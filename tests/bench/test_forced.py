"""Forced drafts have the acceptance that was asked for, and the tokens stay AR's."""

from __future__ import annotations

import pytest

from bench.forced import ForcedDrafts
from bench.measure import Measurement, run_once
from engine import LLM, SamplingParams
from tests.bench.policy.test_simulator import SHIPPED


@pytest.mark.parametrize(("acceptance", "low", "high"), [(0.0, 1.0, 1.0), (0.8, 2.4, 3.4), (1.0, 3.6, 4.0)])
def test_forced_drafts_pace_the_answer_and_leave_it_as_it_is(acceptance: float, low: float, high: float) -> None:
    prompts = [[100 + i, 200, 300 + i] for i in range(4)]
    params = [SamplingParams(temperature=0.0, max_tokens=48, ignore_eos=True)] * 4
    ar, full = Measurement("AR", 2), Measurement("full", 2)
    run_once(LLM(SHIPPED, decoding="ar", threads=1), prompts, params, ar)
    llm = LLM(SHIPPED, draft_length=4, predrafts="full", threads=1)
    run_once(llm, prompts, params, full, ForcedDrafts(acceptance, ar.outputs, llm.engine.ready().vocab_size))
    assert full.outputs == ar.outputs
    assert low <= full.tokens_per_forward <= high
