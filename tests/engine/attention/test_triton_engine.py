"""A whole engine on the Triton back end says what it says on the torch one, drafting or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.messages import Submit
from tests.engine.drive import acceptance, endings, make_engine, run
from tests.engine.drive import request as ask

SETTINGS = {"dtype": "float32", "page_size": 4, "max_num_batched_tokens": 40}


def requests() -> list[Submit]:
    """A prompt longer than a chunk, a shared stem, greedy and seeded."""
    stem = list(range(10, 31))
    return [
        ask("long", stem + [5] * 20, max_tokens=6, ignore_eos=True),
        ask("stem", [*stem, 40], max_tokens=6, ignore_eos=True),
        ask("drawn", [7, 8], temperature=0.9, seed=3, max_tokens=6, ignore_eos=True),
    ]


def test_the_tokens_are_those_of_the_torch_back_end_in_both_modes(learned: Path) -> None:
    expected = endings(run(make_engine(learned, decoding="ar", attention_backend="torch", **SETTINGS), requests()))
    plain = make_engine(learned, decoding="ar", attention_backend="triton", **SETTINGS)
    assert endings(run(plain, requests())) == expected
    for k, predrafts in ((4, "full"), (2, "1")):
        drafting = make_engine(learned, draft_length=k, predrafts=predrafts, attention_backend="triton", **SETTINGS)
        assert endings(run(drafting, requests())) == expected
        assert acceptance(drafting) > 1.0


def test_preemption_changes_nothing(learned: Path) -> None:
    tight = {**SETTINGS, "max_model_len": 52, "num_pages": 14, "predrafts": "full", "attention_backend": "triton"}
    expected = endings(run(make_engine(learned, decoding="ar", attention_backend="torch", **SETTINGS), requests()))
    engine = make_engine(learned, **tight)
    assert endings(run(engine, requests())) == expected
    assert engine.stats().preemptions > 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"attention_backend": "triton"}, "--attention-backend triton cannot compute in float64"),
        ({"attention_backend": "flash"}, "--attention-backend must be one of auto, torch, triton, native, not 'flash'"),
    ],
)
def test_a_back_end_that_cannot_be_is_refused_in_one_sentence(
    learned: Path, settings: dict[str, str], says: str
) -> None:
    with pytest.raises(EngineError, match=says):
        make_engine(learned, **settings)
