"""What a benchmark is asked to run."""

from __future__ import annotations

import pytest

from bench.run import BenchOptions, answer_lengths, run_benchmark


def test_answers_have_one_length_unless_it_may_vary() -> None:
    assert answer_lengths(BenchOptions(model="", num_prompts=3, max_tokens=50)) == [50, 50, 50]
    options = BenchOptions(model="", num_prompts=200, max_tokens=100, range_ratio=0.25)
    lengths = answer_lengths(options)
    assert lengths == answer_lengths(options)
    assert 75 <= min(lengths) < 85 and 115 < max(lengths) <= 125
    assert sum(lengths) / len(lengths) == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize(
    ("peers", "said"), [(("vllm",), "'vllm' is not known"), (("transformers",), "leave --range-ratio out")]
)
def test_what_cannot_be_run_is_said_before_anything_is_loaded(peers: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run_benchmark(BenchOptions(model="/nowhere", peers=peers, range_ratio=0.2))
