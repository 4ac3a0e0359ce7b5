"""A whole comparison on the shipped model, kept small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.compare.command import run_compare
from server.cli.model import model_path

SHIPPED_MODEL = model_path(None, "bench")

SMALL = {"num_prompts": 2, "max_tokens": 12, "repetitions": 1}


def test_tidar_agrees_with_ar_in_fewer_forwards_and_the_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    pairs = ["ar", "full=tidar,predrafts=full"]
    results = run_compare(str(SHIPPED_MODEL), pairs, [], {}, str(path), None, **SMALL)
    ar, tidar = (result.measured for result in results)
    assert tidar.forwards < ar.forwards and ar.tokens_per_forward == pytest.approx(1, abs=0.01)
    written = json.loads(path.read_text())["results"]
    assert written[1]["tokens_before_first_difference"] == 1.0 and written[1]["settings"] == {"predrafts": "full"}


def test_equal_names_and_unknown_decodings_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        run_compare(str(SHIPPED_MODEL), ["ar", "ar"], [], {}, None, None, **SMALL)
