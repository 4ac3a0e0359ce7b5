"""What outputs say of the forwards behind their tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.messages import Forward, Output
from tests.engine.drive import make_engine
from tests.engine.resident.ahead import simple_workload


def outputs(engine: Engine) -> dict[str, list[Output]]:
    """Every output of the workload, by request."""
    said: dict[str, list[Output]] = {}
    for submit in simple_workload(14):
        engine.submit(submit)
    while engine.has_work:
        for output in engine.step():
            said.setdefault(output.request_id, []).append(output)
    engine.check_idle()
    return said


def forwards(outputs_of_one: list[Output]) -> list[Forward]:
    return [forward for output in outputs_of_one for forward in output.forwards]


@pytest.mark.parametrize(
    "settings",
    [
        {"decoding": "ar"},
        {"predrafts": "none"},
        {"predrafts": "full"},
        {"predrafts": "full", "async_scheduling": True},
        {"predrafts": "full", "num_pages": 12, "max_num_seqs": 8},
    ],
    ids=["ar", "two forwards", "full", "one ahead", "preempted"],
)
def test_forwards_account_for_every_token(learned: Path, settings: dict[str, Any]) -> None:
    engine = make_engine(learned, **settings)
    for answers in outputs(engine).values():
        for output in answers:
            assert sum(forward.committed for forward in output.forwards) == len(output.token_ids)
        steps = answers[-1].steps
        assert steps is not None
        decoding = [forward for forward in forwards(answers) if forward.decodes]
        assert len(decoding) == steps.forwards
        assert sum(forward.committed for forward in decoding) == steps.committed
        for forward in forwards(answers):
            assert forward.accepted <= min(forward.drafted, forward.committed)
            assert forward.committed - forward.accepted <= 1


def test_what_forwards_say_adds_up_to_the_engines_own_counts(learned: Path) -> None:
    engine = make_engine(learned, predrafts="full")
    said = [forward for answers in outputs(engine).values() for forward in forwards(answers)]
    stats = engine.stats()
    assert sum(forward.drafted for forward in said) == stats.draft_tokens > 0
    assert sum(forward.decodes for forward in said) == stats.decode_forwards
    assert sum(forward.accepted for forward in said) >= stats.accepted_tokens > 0
