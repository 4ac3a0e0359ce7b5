"""Quantised weights are another model, and of that one TiDAR says what AR says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.errors import EngineError
from models.checkpoint import load_decoder
from tests.engine.drive import acceptance, endings, make_engine, run
from tests.engine.workload import workload


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_tidar_says_what_ar_says_on_quantised_weights(learned: Path, kind: str) -> None:
    requests = workload(30)
    plain = run(make_engine(learned, decoding="ar", max_num_seqs=1, quantization=kind), requests)
    assert endings(plain) != endings(run(make_engine(learned, decoding="ar"), requests)), "nothing was quantised"
    for k, predrafts, settings in ((4, "full", {}), (8, "1", {"max_num_batched_tokens": 13}), (2, "none", {})):
        engine = make_engine(
            learned, decoding="tidar", draft_length=k, predrafts=predrafts, quantization=kind, **settings
        )
        assert endings(run(engine, requests)) == endings(plain)
        if predrafts == "full":
            assert acceptance(engine) > 1.05


def test_the_engine_tells_the_smaller_size(learned: Path) -> None:
    engines = [make_engine(learned, dtype="float32", quantization=kind) for kind in ("none", "int8", "int4")]
    sizes = [engine.ready().weight_bytes for engine in engines]
    assert sizes[0] == sum(parameter.numel() * 4 for parameter in load_decoder(learned, torch.float32).parameters())
    assert sizes[0] > 2 * sizes[1] > 2 * sizes[2]


def test_another_name_is_refused(learned: Path) -> None:
    with pytest.raises(EngineError, match="--quantization must be none, int8 or int4, not 'int2'"):
        make_engine(learned, quantization="int2")
